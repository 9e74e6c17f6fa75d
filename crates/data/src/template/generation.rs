//! `{% generation %}` blocks: a template's own mark of what the assistant wrote.
//!
//! They are rewritten into filter blocks, which behave the same for white space, and whose filter puts
//! a mark around the block's text. The marks are private-use characters outside the basic plane, which
//! no tokenizer's vocabulary and no message has reason to hold; they are taken out again after rendering.

use std::ops::Range;

/// The filter's name in a rewritten template.
pub(super) const FILTER: &str = "anylora_generation_block";

const OPEN: char = '\u{F0000}';
const CLOSE: char = '\u{F0001}';

/// The filter: `text` between the two marks.
pub(super) fn mark(text: String) -> String {
    format!("{OPEN}{text}{CLOSE}")
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

/// Takes the marks out of rendered text: the text, and the byte ranges that they enclosed. `None` where
/// the marks don't pair up, so that some came from a message.
pub(super) fn take_spans(marked: &str) -> Option<(String, Vec<Range<usize>>)> {
    let mut text = String::with_capacity(marked.len());
    let mut spans = Vec::new();
    let mut open = None;
    for character in marked.chars() {
        match (character, open) {
            (OPEN, None) => open = Some(text.len()),
            (CLOSE, Some(start)) => {
                spans.push(start..text.len());
                open = None;
            }
            (OPEN | CLOSE, _) => return None,
            _ => text.push(character),
        }
    }
    open.is_none().then_some((text, spans))
}
