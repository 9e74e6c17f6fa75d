//! SentencePiece's BPE model as the `tokenizers` crate's: scores become merges.
//!
//! SentencePiece joins the neighbours whose joint piece has the highest score. The same choice as ranked merges: for
//! every piece all pairs of pieces that it is made of, ranked by its score. Source: transformers
//! `convert_slow_tokenizer.py:generate_merges`.

use std::collections::HashMap;

use serde_json::{Value, json};

/// SentencePiece's space.
const SPACE: &str = "\u{2581}";

/// The longest piece that merges are made for, far above SentencePiece's own limit of 16 characters; the work grows
/// with the square of the length.
pub(super) const MAX_PIECE: usize = 256;

/// Merges as pairs, best first. `pieces` are the ordinary tokens: text, id, score.
pub(super) fn merges(pieces: &[(&str, u32, f32)]) -> Vec<[String; 2]> {
    struct Merge<'a> {
        left: (&'a str, u32),
        right: (&'a str, u32),
        score: f32,
    }
    let ids: HashMap<&str, u32> = pieces.iter().map(|(text, id, _)| (*text, *id)).collect();
    let mut merges = Vec::new();
    for (piece, _, score) in pieces {
        let first = merges.len();
        for (at, _) in piece.char_indices().skip(1) {
            let (left, right) = piece.split_at(at);
            if let (Some(left_id), Some(right_id)) = (ids.get(left), ids.get(right)) {
                merges.push(Merge {
                    left: (left, *left_id),
                    right: (right, *right_id),
                    score: *score,
                });
            }
        }
        merges[first..].sort_by_key(|merge| (merge.left.1, merge.right.1));
    }
    let characters = |text: &str| text.chars().count();
    merges.sort_by(|a, b| {
        // Adding zero makes one of the two zeros.
        (b.score + 0.0)
            .total_cmp(&(a.score + 0.0))
            .then_with(|| characters(b.left.0).cmp(&characters(a.left.0)))
            .then_with(|| characters(b.right.0).cmp(&characters(a.right.0)))
    });
    merges
        .into_iter()
        .map(|merge| [merge.left.0.to_string(), merge.right.0.to_string()])
        .collect()
}

/// `normalizer` of tokenizer.json: spaces become SentencePiece's, with one before the text where `prefix`.
pub(super) fn normalizer(prefix: bool) -> Value {
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    match prefix {
        true => json!({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replace]}),
        false => replace,
    }
}

/// `decoder` of tokenizer.json: the way back, bytes of what the vocabulary lacks included.
pub(super) fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_ranked_by_the_score_of_what_they_make() {
        let pieces = [
            ("a", 0, -9.0),
            ("b", 1, -9.0),
            ("ab", 2, -1.0),
            ("ba", 3, -0.5),
            ("aba", 4, -2.0),
        ];
        let expected = [["b", "a"], ["a", "b"], ["ab", "a"], ["a", "ba"]];
        assert_eq!(merges(&pieces), expected.map(|pair| pair.map(String::from)));
    }
}
