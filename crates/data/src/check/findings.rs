//! What is wrong, or may be, with some of the records.

use std::fmt;

use serde::Serialize;

/// How many lines a finding names.
const NAMED_LINES: usize = 10;

/// A kind of thing that is wrong with records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The record can't be read or can't become tokens.
    BadRecord,
    /// No token of the record is trained.
    NothingTrained,
    /// No record trains an end: the model would never stop.
    NeverEnds,
    /// Given token ids begin with two BOS tokens.
    DoubledBos,
    /// Some records train no end, others do.
    NoEnd,
    /// A BOS in the text was taken out, because the tokenizer adds one.
    BosTakenOut,
    /// The end of the record is cut off.
    Truncated,
    /// The record's tokens and labels are those of an earlier one.
    Duplicate,
    /// The template isn't prefix-stable for the conversation.
    UnstableTemplate,
    /// The template rewrites an assistant message, which is not trained then.
    LostTurn,
    /// A token reaches from the prompt into what is trained.
    StraddlingToken,
}

impl FindingKind {
    /// Whether training on the file would be wrong.
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Self::BadRecord | Self::NothingTrained | Self::NeverEnds | Self::DoubledBos
        )
    }

    /// What it means.
    pub fn message(self) -> &'static str {
        match self {
            Self::BadRecord => "can't be used",
            Self::NothingTrained => "no trained token",
            Self::NeverEnds => "no EOS or end of turn trained, here or anywhere: the model would never stop",
            Self::DoubledBos => "BOS twice at the start",
            Self::NoEnd => "no EOS or end of turn trained, so nothing there teaches the model to stop",
            Self::BosTakenOut => "a BOS in the text, taken out because one is added",
            Self::Truncated => "longer than --max-length, the end is cut off",
            Self::Duplicate => "the same as an earlier record",
            Self::UnstableTemplate => {
                "the chat template writes an answer otherwise once the conversation goes on; trained as in the whole"
            }
            Self::LostTurn => "an earlier answer that the chat template rewrites is not trained",
            Self::StraddlingToken => "a token reaches from the prompt into the trained text",
        }
    }

    /// One line that says what to do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::BadRecord => "correct or remove these lines",
            Self::NothingTrained => {
                "remove these lines, or raise --max-length where the prompt alone is longer, or --train-on all"
            }
            Self::NeverEnds | Self::NoEnd => {
                "end each record with the tokenizer's EOS, and name it as eos_token in tokenizer_config.json"
            }
            Self::DoubledBos => "tokenize without special tokens where the text has them already",
            Self::BosTakenOut => "leave BOS out of the text",
            Self::Truncated => "raise --max-length, or split the records",
            Self::Duplicate => "remove the repeats: sort -u FILE",
            Self::UnstableTemplate => "end each conversation at its first answer, one record an answer",
            Self::LostTurn => "end a conversation at each answer that is to be trained, one record an answer",
            Self::StraddlingToken => "begin the completion with the space, and end the prompt without it",
        }
    }
}

/// Records that share what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// Whether training on the file would be wrong.
    pub error: bool,
    /// How many records.
    pub records: usize,
    /// The lines of the first of them.
    pub lines: Vec<u64>,
    /// Of records that can't be used: what is wrong with the first of them, with file and line.
    pub messages: Vec<String>,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let one = self.records == 1;
        let (record, line) = if one {
            ("record", "line")
        } else {
            ("records", "lines")
        };
        let mut lines: Vec<String> = self.lines.iter().map(u64::to_string).collect();
        if self.records > lines.len() {
            lines.push("...".to_owned());
        }
        write!(
            f,
            "{} {record}: {} ({line} {})",
            self.records,
            self.kind.message(),
            lines.join(", ")
        )
    }
}

/// Findings by kind.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    fn entry(&mut self, kind: FindingKind) -> &mut Finding {
        let at = self
            .0
            .binary_search_by_key(&kind, |finding| finding.kind)
            .unwrap_or_else(|at| {
                let hint = kind.hint().to_owned();
                let new = Finding {
                    kind,
                    error: kind.is_error(),
                    records: 0,
                    lines: Vec::new(),
                    messages: Vec::new(),
                    hint,
                };
                self.0.insert(at, new);
                at
            });
        &mut self.0[at]
    }

    /// A record of this kind.
    pub(super) fn add(&mut self, kind: FindingKind, line: u64) {
        let finding = self.entry(kind);
        finding.records += 1;
        if finding.lines.len() < NAMED_LINES {
            finding.lines.push(line);
        }
    }

    /// A record that can't be used.
    pub(super) fn bad(&mut self, line: u64, message: String, hint: Option<String>) {
        self.add(FindingKind::BadRecord, line);
        let finding = self.entry(FindingKind::BadRecord);
        if finding.messages.len() < NAMED_LINES {
            // The first one's hint stands for all.
            finding.hint = hint
                .filter(|_| finding.messages.is_empty())
                .unwrap_or(finding.hint.clone());
            finding.messages.push(message);
        }
    }

    /// Makes records that train no end an error where no record does.
    pub(super) fn none_ends(&mut self) {
        if let Some(finding) = self
            .0
            .iter_mut()
            .find(|finding| finding.kind == FindingKind::NoEnd)
        {
            finding.kind = FindingKind::NeverEnds;
            finding.error = true;
        }
        self.0.sort_by_key(|finding| finding.kind);
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}
