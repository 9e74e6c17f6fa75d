//! Byte ranges of a text to labels of its tokens.

use std::ops::Range;

use crate::{IGNORED, tokenizer::Encoding};

/// Labels of `encoding`: the token's id where it overlaps one of `trained`, else [`IGNORED`]. The second value
/// counts tokens that reach into a trained range from the text before it.
///
/// Some tokenizers leave white space out of a token's offsets, so a token is taken to cover everything from its
/// predecessor's end to its own. One that covers nothing (a later byte of a character, an EOS that was added)
/// goes with its predecessor.
pub(super) fn labels(encoding: &Encoding, trained: &[Range<usize>]) -> (Vec<i32>, usize) {
    let mut labels = Vec::with_capacity(encoding.ids.len());
    let mut straddling = 0;
    let (mut covered, mut on) = (0, false);
    for (id, offsets) in encoding.ids.iter().zip(&encoding.offsets) {
        let end = offsets.end.max(covered);
        if end > covered {
            let overlap = trained
                .iter()
                .find(|range| covered < range.end && end > range.start);
            on = overlap.is_some();
            // Where offsets are trimmed, the space between the two belongs to neither.
            straddling += usize::from(overlap.is_some_and(|range| offsets.start < range.start));
        }
        covered = end;
        labels.push(if on { id.cast_signed() } else { IGNORED });
    }
    (labels, straddling)
}
