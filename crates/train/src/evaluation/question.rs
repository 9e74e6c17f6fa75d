//! What a model is asked where its answer is a text: a prompt, and the texts that would be right.

use anylora_data::Message;

/// A prompt with a part that may be shortened.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    /// A text that is continued.
    Text(Passage),
    /// A conversation that is answered: what comes first, then the user's last message.
    Chat(Vec<Message>, Passage),
}

/// A text whose middle may lose its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// What always stays, before it.
    pub before: String,
    /// What may be shortened.
    pub middle: String,
    /// What always stays, after it.
    pub after: String,
    /// It loses its beginning instead.
    pub keeps_end: bool,
}

/// A prompt, and what would be right.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The record's `id`, or its number from 0.
    pub id: String,
    /// What is asked.
    pub prompt: Prompt,
    /// Right answers; none where a question has no answer.
    pub references: Vec<String>,
    /// The record as the file has it.
    pub record: serde_json::Value,
}

impl Passage {
    /// The text with `kept` bytes of its middle, about.
    fn text(&self, kept: usize) -> String {
        let all = self.middle.as_str();
        let middle = if self.keeps_end {
            &all[all.ceil_char_boundary(all.len() - kept.min(all.len()))..]
        } else {
            &all[..all.floor_char_boundary(kept)]
        };
        format!("{}{middle}{}", self.before, self.after)
    }
}

impl Prompt {
    const fn passage(&self) -> &Passage {
        match self {
            Self::Text(passage) | Self::Chat(_, passage) => passage,
        }
    }

    /// The token ids of the prompt, at most `limit` of them, and whether it had to be shortened for that. `encode`
    /// makes token ids of a text, or of a conversation.
    ///
    /// # Errors
    /// Those of `encode`. What is too long even without its middle is returned as long as it is.
    pub fn encode<E>(
        &self,
        limit: usize,
        encode: impl Fn(Rendered<'_>) -> Result<Vec<u32>, E>,
    ) -> Result<(Vec<u32>, bool), E> {
        let whole = self.passage().middle.len();
        let mut kept = whole;
        loop {
            let text = self.passage().text(kept);
            let ids = match self {
                Self::Text(_) => encode(Rendered::Text(&text))?,
                Self::Chat(messages, _) => {
                    let mut messages = messages.clone();
                    messages.push(Message::new("user", text));
                    encode(Rendered::Chat(&messages))?
                }
            };
            if ids.len() <= limit || kept == 0 {
                return Ok((ids, kept < whole));
            }
            // Bytes a token are much the same all over a text: a little less than that, until it fits.
            let over = ids.len() - limit;
            let bytes_a_token = (whole / ids.len()).max(1);
            kept = kept.saturating_sub(over * bytes_a_token + bytes_a_token);
        }
    }
}

/// A prompt as it is at last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rendered<'a> {
    /// A text.
    Text(&'a str),
    /// A conversation.
    Chat(&'a [Message]),
}

/// A template's text around `{name}`, with the other placeholders filled in; None where it has no `{name}`.
pub(super) fn around(template: &str, name: &str, middle: &str, others: &[(&str, &str)]) -> Option<Passage> {
    let (before, after) = template.split_once(&format!("{{{name}}}"))?;
    let fill = |text: &str| {
        let mut text = text.to_owned();
        for (name, value) in others {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    };
    Some(Passage {
        before: fill(before),
        middle: middle.to_owned(),
        after: fill(after),
        keeps_end: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(rendered: Rendered<'_>) -> Result<Vec<u32>, ()> {
        Ok(match rendered {
            Rendered::Text(text) => text.bytes().map(u32::from).collect(),
            Rendered::Chat(messages) => messages
                .iter()
                .flat_map(|message| message.content.bytes().map(u32::from))
                .collect(),
        })
    }

    fn text(ids: &[u32]) -> String {
        String::from_utf8(ids.iter().map(|id| *id as u8).collect()).unwrap()
    }

    #[test]
    fn a_long_middle_is_shortened_and_the_rest_stays() {
        let passage = around(
            "P: {context} Q: {question}?",
            "context",
            "aäbcdefghij",
            &[("question", "who")],
        );
        let mut passage = passage.unwrap();
        let (ids, cut) = Prompt::Text(passage.clone()).encode(100, bytes).unwrap();
        assert_eq!((text(&ids).as_str(), cut), ("P: aäbcdefghij Q: who?", false));
        let (ids, cut) = Prompt::Text(passage.clone()).encode(14, bytes).unwrap();
        assert!(cut && text(&ids).starts_with("P: a") && text(&ids).ends_with(" Q: who?"));
        passage.keeps_end = true;
        let chat = Prompt::Chat(vec![Message::new("system", "s")], passage);
        let (ids, cut) = chat.encode(16, bytes).unwrap();
        assert!(cut && text(&ids).starts_with("sP: ") && text(&ids).ends_with("j Q: who?"));
        // What always stays is never cut.
        assert_eq!(text(&chat.encode(3, bytes).unwrap().0), "sP:  Q: who?");
        assert_eq!(around("no place", "context", "a", &[]), None);
    }
}
