//! What a data file would train: counts, lengths, and what is wrong with it.
//!
//! The answer to "why does my model never stop" and its like, before a run.

mod findings;
mod lengths;

use std::{collections::HashSet, hash::BuildHasher};

use findings::Findings;
pub use findings::{Finding, FindingKind};
pub use lengths::{Bucket, Lengths};
use serde::Serialize;

use crate::{Dataset, Encoded, Encoder, Format, IGNORED, TokenizerError};

/// What was found in a data file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The file as the caller named it.
    pub file: String,
    /// Its format.
    pub format: Format,
    /// Records.
    pub records: usize,
    /// Records that a run would train on.
    pub trainable_records: usize,
    /// Tokens of those, truncation done.
    pub tokens: usize,
    /// Tokens that the loss counts.
    pub trained_tokens: usize,
    /// Tokens that `max_length` cut off.
    pub truncated_tokens: usize,
    /// Lengths in tokens, before truncation.
    pub lengths: Lengths,
    /// What is wrong, errors first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether training on the file would be wrong.
    pub fn is_error(&self) -> bool {
        self.findings.iter().any(|finding| finding.error)
    }
}

/// Reads and encodes every record. `progress` is told how many are done.
pub fn check(dataset: &Dataset, encoder: &Encoder, mut progress: impl FnMut(usize)) -> Report {
    let mut report = Report {
        file: dataset.name().to_owned(),
        format: dataset.format(),
        records: dataset.len(),
        trainable_records: 0,
        tokens: 0,
        trained_tokens: 0,
        truncated_tokens: 0,
        lengths: Lengths::default(),
        findings: Vec::new(),
    };
    let mut findings = Findings::default();
    let mut lengths = Vec::new();
    let (mut seen, hasher) = (HashSet::new(), std::hash::RandomState::new());
    let mut ends = false;
    for record in 0..dataset.len() {
        progress(record);
        let line = dataset.line(record);
        let encoded = match dataset.example(record) {
            Ok(example) => encoder.encode(&example),
            Err(error) => {
                findings.bad(error.line, error.to_string(), error.hint());
                continue;
            }
        };
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                findings.bad(line, format!("{}:{line}: {error}", dataset.name()), error.hint());
                continue;
            }
        };
        lengths.push(encoded.input_ids.len() + encoded.truncated);
        report.truncated_tokens += encoded.truncated;
        ends |= encoded.end_trained;
        let repeats = !seen.insert(hasher.hash_one((&encoded.input_ids, &encoded.labels)));
        for kind in kinds(&encoded, dataset.format(), repeats) {
            findings.add(kind, line);
        }
        let trained = encoded.trained_tokens();
        if trained > 0 {
            report.trainable_records += 1;
            report.tokens += encoded.input_ids.len();
            report.trained_tokens += trained;
        }
    }
    if !ends {
        findings.none_ends();
    }
    report.lengths = Lengths::new(lengths);
    report.findings = findings.into_vec();
    report
}

fn kinds(encoded: &Encoded, format: Format, repeats: bool) -> impl Iterator<Item = FindingKind> {
    let trained = encoded.trained_tokens() > 0;
    let given = format == Format::Tokens;
    let found = [
        (!trained, FindingKind::NothingTrained),
        (
            trained && !encoded.end_trained && encoded.truncated == 0,
            FindingKind::NoEnd,
        ),
        (encoded.doubled_bos && given, FindingKind::DoubledBos),
        (encoded.doubled_bos && !given, FindingKind::BosTakenOut),
        (encoded.truncated > 0, FindingKind::Truncated),
        (repeats, FindingKind::Duplicate),
        (encoded.unstable_template, FindingKind::UnstableTemplate),
        (encoded.lost_turns > 0, FindingKind::LostTurn),
        (encoded.straddling > 0, FindingKind::StraddlingToken),
    ];
    found
        .into_iter()
        .filter(|(holds, _)| *holds)
        .map(|(_, kind)| kind)
}

/// A run of an example's tokens for showing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Whether the loss counts these tokens.
    pub trained: bool,
    /// Whether it is one special token (BOS, EOS, an end of turn).
    pub special: bool,
    /// Whether it is a token that ends an answer.
    pub ends: bool,
    /// How many tokens.
    pub tokens: usize,
    /// Their text.
    pub text: String,
}

/// An example's text in runs of trained and masked tokens, special tokens apart.
///
/// # Errors
/// Ids that can't be decoded.
pub fn pieces(encoder: &Encoder, encoded: &Encoded) -> Result<Vec<Piece>, TokenizerError> {
    let tokenizer = encoder.tokenizer();
    let kind = |at: usize| {
        // Nothing predicts the first token, whatever its label.
        let trained = at > 0 && encoded.labels[at] != IGNORED;
        (trained, tokenizer.is_special(encoded.input_ids[at]))
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 0;
    for at in 1..=encoded.input_ids.len() {
        let (trained, special) = kind(start);
        if at < encoded.input_ids.len() && !special && kind(at) == (trained, special) {
            continue;
        }
        let ids = &encoded.input_ids[start..at];
        let text = tokenizer.decode(ids, false)?;
        let ends = special && encoder.end_ids().contains(&ids[0]);
        pieces.push(Piece {
            trained,
            special,
            ends,
            tokens: ids.len(),
            text,
        });
        start = at;
    }
    Ok(pieces)
}
