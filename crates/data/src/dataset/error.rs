//! What can be wrong with a data file.

use super::Format;

/// A place in a data file and what is wrong there.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {problem}", if *line > 0 { format!(":{line}") } else { String::new() })]
pub struct DataError {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1, or 0 where it is the whole file; of a record over several lines, the one that it starts on or that
    /// the fault is on.
    pub line: u64,
    /// What is wrong.
    pub problem: Problem,
}

impl DataError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        let file = &self.file;
        let hint = match &self.problem {
            Problem::Read(_) => return Some(format!("ls -l {file}")),
            Problem::NotUtf8(_) => return Some(format!("iconv -f LATIN1 -t UTF-8 {file} > converted.jsonl")),
            Problem::Empty => "write one JSON object a line",
            Problem::Json { hint, .. } | Problem::Record { hint, .. } => hint,
            Problem::Table(_) => "the first line names the columns; quote fields that hold the separator",
            Problem::UnknownFormat { .. } => "rename the keys, or name the format with --format",
            Problem::TooLong(_) => "split the record",
        };
        Some(hint.to_owned())
    }
}

/// What is wrong with a record, or with a file.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file can't be read.
    #[error("can't be read: {0}")]
    Read(#[from] std::io::Error),
    /// Nothing in it.
    #[error("the file holds no records")]
    Empty,
    /// Bytes that are no text.
    #[error("byte {0} of the record is not UTF-8")]
    NotUtf8(usize),
    /// Not JSON.
    #[error("column {column}: {message}; expected one JSON object")]
    Json {
        /// Column in the line, from 1.
        column: usize,
        /// The parser's words.
        message: String,
        /// What to do.
        hint: &'static str,
    },
    /// Not a table.
    #[error("{0}")]
    Table(String),
    /// No format has these keys.
    #[error(
        "no known format has the keys {found}; expected messages, conversations, instruction and output, prompt and completion, text, or input_ids"
    )]
    UnknownFormat {
        /// The keys found.
        found: String,
    },
    /// A record that differs from the file's format.
    #[error("expected {expected} (format {format}), found {found}")]
    Record {
        /// The file's format.
        format: Format,
        /// What the format demands.
        expected: String,
        /// What is there.
        found: String,
        /// What to do.
        hint: &'static str,
    },
    /// A record of 4 GiB or more.
    #[error("the record is {0} bytes long; expected less than 4 GiB")]
    TooLong(u64),
}
