//! Examples to tokens and labels: what the model reads, and what of it is trained.
//!
//! The loss is on what the assistant says, or on the completion, unless all is asked for; the end of the turn
//! is part of it, or the model never learns to stop.

mod error;
mod labels;
mod spans;

use std::ops::{Not, Range};

pub use error::EncodeError;

use crate::{
    dataset::Example,
    template::{ChatTemplate, Message, RenderOptions},
    tokenizer::{Encoding, Tokenizer},
};

/// The label of a token that is not trained.
pub const IGNORED: i32 = -100;

/// What the loss is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrainOn {
    /// Completions, answers and what the assistant says.
    #[default]
    Completion,
    /// Every token.
    All,
}

/// How examples become tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// What the loss is on.
    pub train_on: TrainOn,
    /// Longer examples lose their end.
    pub max_length: Option<usize>,
}

/// An example in tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// One a token: its id where it is trained, else [`IGNORED`]. Not shifted.
    pub labels: Vec<i32>,
    /// Tokens that `max_length` cut off.
    pub truncated: usize,
    /// Whether an end of turn or EOS is trained after the last trained text.
    pub end_trained: bool,
    /// Whether the text began with two BOS tokens; a doubled one is taken out, except from given tokens.
    pub doubled_bos: bool,
    /// Tokens that begin before a trained text and reach into it; at generation the text before is
    /// tokenized alone, and the model would have to give such a token's second half.
    pub straddling: usize,
    /// Whether the chat template isn't prefix-stable for this conversation, so that what it writes before
    /// the answer may differ from what it writes when the model is asked.
    pub unstable_template: bool,
    /// Assistant messages that the template rewrites, so that they can't be found in its text and aren't trained.
    pub lost_turns: usize,
}

impl Encoded {
    /// Tokens that the loss counts: those with a label, but for the first, which nothing predicts.
    pub fn trained_tokens(&self) -> usize {
        self.labels
            .iter()
            .skip(1)
            .filter(|label| **label != IGNORED)
            .count()
    }
}

/// Turns examples into tokens for one model.
#[derive(Clone, Debug)]
pub struct Encoder {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    options: EncodeOptions,
    end_of_turn: String,
    /// The ids that end an answer: EOS, and the special tokens of the template's end of turn.
    end_ids: Vec<u32>,
}

impl Encoder {
    /// For a model's tokenizer and its chat template, if it has one.
    ///
    /// # Errors
    /// A tokenizer that fails on the template's end of turn.
    pub fn new(
        tokenizer: Tokenizer,
        template: Option<ChatTemplate>,
        options: EncodeOptions,
    ) -> Result<Self, EncodeError> {
        let end_of_turn = template.as_ref().map(spans::end_of_turn).unwrap_or_default();
        let mut end_ids: Vec<u32> = tokenizer.encode(&end_of_turn, false)?;
        end_ids.retain(|id| tokenizer.is_special(*id));
        end_ids.extend(tokenizer.eos_id());
        end_ids.sort_unstable();
        end_ids.dedup();
        Ok(Self {
            tokenizer,
            template,
            options,
            end_of_turn,
            end_ids,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// The options.
    pub fn options(&self) -> EncodeOptions {
        self.options
    }

    /// The ids that end an answer: EOS, and the special tokens that the template ends a turn with.
    pub fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// Tokens and labels of an example.
    ///
    /// # Errors
    /// A conversation without a template, one that the template refuses or rewrites, ids outside of the vocabulary.
    pub fn encode(&self, example: &Example) -> Result<Encoded, EncodeError> {
        let mut encoded = match example {
            Example::Conversation {
                messages,
                trained_from,
            } => self.conversation(messages, *trained_from)?,
            Example::Instruction {
                system,
                instruction,
                input,
                output,
            } if self.template.is_some() => {
                let question = match input.is_empty() {
                    true => instruction.clone(),
                    false => format!("{instruction}\n\n{input}"),
                };
                let system = system.as_ref().map(|system| Message::new("system", system));
                let turns = [Message::new("user", question), Message::new("assistant", output)];
                self.conversation(&system.into_iter().chain(turns).collect::<Vec<_>>(), 0)?
            }
            Example::Instruction {
                system,
                instruction,
                input,
                output,
            } => self.completion(&alpaca_prompt(system.as_deref(), instruction, input), output)?,
            Example::Completion { prompt, completion } => self.completion(prompt, completion)?,
            Example::Text(text) => self.completion("", text)?,
            Example::Tokens { input_ids, labels } => self.tokens(input_ids, labels.as_deref())?,
        };
        if let Some(max_length) = self
            .options
            .max_length
            .filter(|max| *max < encoded.input_ids.len())
        {
            encoded.truncated = encoded.input_ids.len() - max_length;
            encoded.input_ids.truncate(max_length);
            encoded.labels.truncate(max_length);
        }
        encoded.end_trained = self.end_is_trained(&encoded)?;
        Ok(encoded)
    }

    fn conversation(&self, messages: &[Message], trained_from: usize) -> Result<Encoded, EncodeError> {
        let template = self.template.as_ref().ok_or(EncodeError::NoTemplate)?;
        // Some data sets weigh messages; a weight of zero takes one out of the loss.
        let is_trained = |at: usize| {
            at >= trained_from && messages[at].extra.get("weight").is_none_or(|weight| weight != 0)
        };
        let spans = match self.options.train_on {
            TrainOn::Completion => spans::find(template, messages, &self.end_of_turn, is_trained)?,
            TrainOn::All => {
                let text = template.render(messages, &RenderOptions::default())?;
                let all = 0..text.len();
                spans::Spans {
                    text,
                    trained: vec![all],
                    unstable: false,
                    lost_turns: 0,
                }
            }
        };
        // The template has written BOS itself.
        let encoding = self.tokenizer.encode_with_offsets(&spans.text, false)?;
        let mut encoded = self.labelled(encoding, &spans.trained);
        encoded.unstable_template = spans.unstable;
        encoded.lost_turns = spans.lost_turns;
        let ends_with_answer = messages.last().is_some_and(|message| message.role == "assistant");
        let ended = encoded
            .labels
            .iter()
            .any(|label| self.end_ids.contains(&label.cast_unsigned()));
        if ends_with_answer && !ended && is_trained(messages.len() - 1) {
            self.push_eos(&mut encoded);
        }
        Ok(encoded)
    }

    fn completion(&self, prompt: &str, completion: &str) -> Result<Encoded, EncodeError> {
        let text = format!("{prompt}{completion}");
        let trained = match self.options.train_on {
            TrainOn::Completion => prompt.len()..text.len(),
            TrainOn::All => 0..text.len(),
        };
        let encoding = self.tokenizer.encode_with_offsets(&text, true)?;
        let mut encoded = self.labelled(encoding, &[trained]);
        if !completion.is_empty() {
            self.push_eos(&mut encoded);
        }
        Ok(encoded)
    }

    /// Given tokens, as they are.
    fn tokens(&self, input_ids: &[u32], labels: Option<&[i32]>) -> Result<Encoded, EncodeError> {
        let vocab_size = self.tokenizer.vocab_size();
        let all = input_ids.iter().map(|id| id.cast_signed());
        let labels = labels.map_or_else(|| all.collect(), <[i32]>::to_vec);
        let named = labels
            .iter()
            .filter(|label| **label != IGNORED)
            .map(|label| i64::from(*label));
        let mut ids = input_ids.iter().map(|id| i64::from(*id)).chain(named);
        if let Some(id) = ids.find(|id| usize::try_from(*id).is_ok_and(|id| id < vocab_size).not()) {
            return Err(EncodeError::UnknownToken { id, vocab_size });
        }
        let doubled_bos = self.begins_with_two_bos(input_ids);
        Ok(Encoded {
            input_ids: input_ids.to_vec(),
            labels,
            doubled_bos,
            ..Encoded::default()
        })
    }

    fn labelled(&self, encoding: Encoding, trained: &[Range<usize>]) -> Encoded {
        let (labels, straddling) = labels::labels(&encoding, trained);
        let mut encoded = Encoded {
            input_ids: encoding.ids,
            labels,
            straddling,
            ..Encoded::default()
        };
        // The text brought a BOS, and the tokenizer or the template added its own.
        while self.begins_with_two_bos(&encoded.input_ids) {
            encoded.doubled_bos = true;
            encoded.input_ids.remove(0);
            encoded.labels.remove(0);
        }
        encoded
    }

    fn begins_with_two_bos(&self, ids: &[u32]) -> bool {
        self.tokenizer
            .bos_id()
            .is_some_and(|bos| ids.starts_with(&[bos, bos]))
    }

    /// Whether the last trained token ends an answer, white space after it aside.
    fn end_is_trained(&self, encoded: &Encoded) -> Result<bool, EncodeError> {
        for label in encoded.labels.iter().rev().filter(|label| **label != IGNORED) {
            let id = label.cast_unsigned();
            if self.end_ids.contains(&id) {
                return Ok(true);
            }
            if !self.tokenizer.decode(&[id], false)?.trim().is_empty() {
                break;
            }
        }
        Ok(false)
    }

    /// Ends the example with a trained EOS, unless it ends with one.
    fn push_eos(&self, encoded: &mut Encoded) {
        let Some(eos) = self.tokenizer.eos_id() else {
            return;
        };
        match encoded.labels.last_mut() {
            Some(label) if encoded.input_ids.last() == Some(&eos) => *label = eos.cast_signed(),
            _ => {
                encoded.input_ids.push(eos);
                encoded.labels.push(eos.cast_signed());
            }
        }
    }
}

/// The prompt of Stanford Alpaca (`tatsu-lab/stanford_alpaca:train.py`), for models without a chat template.
pub fn alpaca_prompt(system: Option<&str>, instruction: &str, input: &str) -> String {
    let task = "Below is an instruction that describes a task";
    let (context, input) = match input.is_empty() {
        true => (String::new(), String::new()),
        false => (
            ", paired with an input that provides further context".to_owned(),
            format!("### Input:\n{input}\n\n"),
        ),
    };
    let opening = match system {
        Some(system) => system.to_owned(),
        None => format!("{task}{context}. Write a response that appropriately completes the request."),
    };
    format!("{opening}\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n")
}
