//! Where in a rendered conversation the assistant speaks.
//!
//! 1. A template with `{% generation %}` blocks says it itself.
//! 2. Otherwise the conversation is rendered up to each assistant message, with the generation prompt, and up to
//!    its end: where the whole text continues the first and then the second, what is between them is the
//!    answer with its end of turn. That is also the text that the model sees and has to give when it generates.
//! 3. Some templates aren't prefix-stable: Mistral's moves the system prompt to the last user message, Qwen 3's
//!    drops thoughts from earlier turns. There a mark is set around the message's text and looked up in the
//!    result, which must be the same text but for the marks; the end of turn that follows it is added.

use std::ops::Range;

use super::EncodeError;
use crate::template::{ChatTemplate, Message, RenderOptions, mark_message};

/// A conversation's text and the byte ranges of it that are trained.
pub(super) struct Spans {
    pub(super) text: String,
    pub(super) trained: Vec<Range<usize>>,
    /// Whether the third way was needed.
    pub(super) unstable: bool,
    /// Assistant messages that the template rewrites, so that they can't be found in the text.
    pub(super) lost_turns: usize,
}

/// What the template writes after an assistant's text to end the turn (`<|im_end|>`, `</s>`), without white
/// space at its end; empty where it writes nothing.
pub(super) fn end_of_turn(template: &ChatTemplate) -> String {
    let probe = [
        Message::new("user", "Question"),
        Message::new("assistant", "Answer"),
    ];
    let Ok(whole) = template.render(&probe, &RenderOptions::default()) else {
        return String::new();
    };
    let span = marked(template, &probe, 1, &whole).ok().flatten();
    span.map(|span| whole[span.end..].trim_end().to_owned())
        .unwrap_or_default()
}

/// Renders `messages` and finds the assistant messages for which `is_trained` holds.
pub(super) fn find(
    template: &ChatTemplate,
    messages: &[Message],
    end_of_turn: &str,
    is_trained: impl Fn(usize) -> bool,
) -> Result<Spans, EncodeError> {
    let whole = RenderOptions::default();
    let (text, blocks) = template.render_with_spans(messages, &whole)?;
    let assistant: Vec<usize> = (0..messages.len())
        .filter(|&at| messages[at].role == "assistant")
        .collect();
    if !blocks.is_empty() && blocks.len() == assistant.len() {
        let trained = assistant
            .into_iter()
            .zip(blocks)
            .filter(|(at, _)| is_trained(*at));
        let trained = trained.map(|(_, block)| block).collect();
        return Ok(Spans {
            text,
            trained,
            unstable: false,
            lost_turns: 0,
        });
    }
    let mut spans = Spans {
        text,
        trained: Vec::new(),
        unstable: false,
        lost_turns: 0,
    };
    for at in assistant.into_iter().filter(|at| is_trained(*at)) {
        let span = match between_prefixes(template, messages, at, &spans.text, end_of_turn) {
            Some(span) => span,
            None => {
                spans.unstable = true;
                let Some(span) = marked(template, messages, at, &spans.text)? else {
                    spans.lost_turns += 1;
                    continue;
                };
                let followed = spans.text[span.end..].starts_with(end_of_turn);
                span.start..span.end + if followed { end_of_turn.len() } else { 0 }
            }
        };
        spans.trained.push(span);
    }
    Ok(spans)
}

/// The second way; `None` where the template isn't prefix-stable at this message.
fn between_prefixes(
    template: &ChatTemplate,
    messages: &[Message],
    at: usize,
    whole: &str,
    end_of_turn: &str,
) -> Option<Range<usize>> {
    let before = template.render(&messages[..at], &RenderOptions::prompt()).ok()?;
    let rest = whole.strip_prefix(&before)?;
    let through = match at + 1 == messages.len() {
        true => rest.len(),
        false => {
            let through = template
                .render(&messages[..=at], &RenderOptions::default())
                .ok()?;
            let through = through.strip_prefix(&before)?;
            rest.strip_prefix(through)?;
            through.len()
        }
    };
    // White space after the end of turn belongs to the template: the model has stopped by then.
    let spoken = rest[..through].trim_end();
    let end = if !end_of_turn.is_empty() && spoken.ends_with(end_of_turn) {
        spoken.len()
    } else {
        through
    };
    Some(before.len()..before.len() + end)
}

/// The third way: the range of message `at` in `whole`, without its end of turn; `None` where the template took
/// the message apart.
fn marked(
    template: &ChatTemplate,
    messages: &[Message],
    at: usize,
    whole: &str,
) -> Result<Option<Range<usize>>, EncodeError> {
    let content = &messages[at].content;
    let trimmed = content.trim();
    let start = content.len() - content.trim_start().len();
    // A template that trims finds nothing to trim within the marks: for it, white space stays outside.
    for range in [0..content.len(), start..start + trimmed.len()] {
        let mut messages = messages.to_vec();
        let (before, after) = (&content[..range.start], &content[range.end..]);
        messages[at].content = format!("{before}{}{after}", mark_message(&content[range]));
        let rendered = template.render_marked(&messages, &RenderOptions::default())?;
        if let ([span], true) = (&rendered.messages[..], rendered.text == whole) {
            return Ok(Some(span.clone()));
        }
    }
    Ok(None)
}
