//! Marks in rendered text: what a template, or this crate, says about parts of it.
//!
//! `{% generation %}` blocks are a template's own word on what the assistant wrote. They are rewritten into
//! filter blocks, which behave the same for white space, and whose filter puts marks around the block's text.
//! Another pair of marks finds a message's text again. All are private-use characters outside of the basic
//! plane, which no message has reason to hold; they are taken out again after rendering.

use std::ops::Range;

/// The filter's name in a rewritten template.
pub(super) const FILTER: &str = "anylora_generation_block";

const BLOCK: [char; 2] = ['\u{F0000}', '\u{F0001}'];
const MESSAGE: [char; 2] = ['\u{F0002}', '\u{F0003}'];

/// The filter: a block's text between its marks.
pub(super) fn mark_block(text: String) -> String {
    format!("{}{text}{}", BLOCK[0], BLOCK[1])
}

/// A message's text between its marks.
pub(crate) fn mark_message(text: &str) -> String {
    format!("{}{text}{}", MESSAGE[0], MESSAGE[1])
}

/// Whether `text` holds a mark.
pub(super) fn holds_marks(text: &str) -> bool {
    text.contains([BLOCK[0], BLOCK[1], MESSAGE[0], MESSAGE[1]])
}

/// Rendered text without its marks.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    /// The text.
    pub(crate) text: String,
    /// Byte ranges of generation blocks.
    pub(crate) blocks: Vec<Range<usize>>,
    /// Byte ranges of marked messages.
    pub(crate) messages: Vec<Range<usize>>,
}

/// Takes the marks out. A mark without its partner (a template that kept a part of a message) counts for nothing.
pub(super) fn take_marks(marked: &str) -> Rendered {
    let mut rendered = Rendered {
        text: String::with_capacity(marked.len()),
        ..Rendered::default()
    };
    let (mut block, mut message) = (None, None);
    for character in marked.chars() {
        let at = rendered.text.len();
        match character {
            _ if character == BLOCK[0] => block = Some(at),
            _ if character == BLOCK[1] => rendered.blocks.extend(block.take().map(|start| start..at)),
            _ if character == MESSAGE[0] => message = Some(at),
            _ if character == MESSAGE[1] => rendered.messages.extend(message.take().map(|start| start..at)),
            _ => rendered.text.push(character),
        }
    }
    rendered
}

/// `source` with its generation blocks rewritten, and whether there were any.
pub(super) fn prepare(source: &str) -> (String, bool) {
    let mut out = String::with_capacity(source.len());
    let mut found = false;
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let inside = &rest[start + 2..start + length];
        let name = inside.trim_matches(['-', '+']).trim();
        let replacement = match name {
            "generation" => format!("filter {FILTER}"),
            "endgeneration" => "endfilter".to_owned(),
            _ => {
                out.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
                continue;
            }
        };
        found = true;
        out.push_str(&rest[..start + 2]);
        out.push_str(&inside.replace(name, &replacement));
        rest = &rest[start + length..];
    }
    out.push_str(rest);
    (out, found)
}
