//! Data files as users have them: JSON lines, JSON arrays, CSV, TSV and plain text, in six formats.
//!
//! A data set is an index of where its records are (16 bytes each); the text stays in the file and is read a
//! record at a time, in any order. So a file may be larger than memory.

mod error;
mod example;
mod index;
mod json;
mod records;
mod source;

use std::{
    fmt,
    fs::File,
    io::Read,
    path::Path,
    str::FromStr,
    sync::{Arc, Mutex},
};

pub use error::{DataError, Problem};
pub use example::Example;
use index::{Fault, Index, Location};
use source::{Checksummed, Source};

/// What the keys of a record mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `messages`: objects with `role` and `content`.
    Messages,
    /// `conversations`: objects with `from` and `value`.
    ShareGpt,
    /// `instruction`, `input`, `output`.
    Alpaca,
    /// `prompt`, `completion`: two texts, or two lists of messages.
    PromptCompletion,
    /// `text`.
    Text,
    /// `input_ids`, and `labels` where not all are trained.
    Tokens,
}

impl Format {
    /// All formats with their names, as `--format` takes them.
    pub const NAMES: [(&'static str, Self); 6] = [
        ("messages", Self::Messages),
        ("sharegpt", Self::ShareGpt),
        ("alpaca", Self::Alpaca),
        ("prompt-completion", Self::PromptCompletion),
        ("text", Self::Text),
        ("tokens", Self::Tokens),
    ];
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, format)| format == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// A name that is no format's.
#[derive(Debug, thiserror::Error)]
#[error("unknown data format {0:?}; expected messages, sharegpt, alpaca, prompt-completion, text or tokens")]
pub struct UnknownFormatName(String);

impl FromStr for Format {
    type Err = UnknownFormatName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name);
        known
            .map(|(_, format)| *format)
            .ok_or_else(|| UnknownFormatName(name.to_owned()))
    }
}

/// How a file separates its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// One JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    JsonArray,
    /// Rows of columns that the first row names.
    Table {
        /// `,` or a tab.
        separator: u8,
    },
    /// Paragraphs separated by blank lines, each an example.
    PlainText,
}

/// An indexed data file.
#[derive(Clone, Debug)]
pub struct Dataset {
    name: String,
    source: Source,
    kind: FileKind,
    format: Format,
    records: Arc<[Location]>,
    columns: Arc<[String]>,
    checksum: u32,
}

impl Dataset {
    /// Opens and indexes a file. Its kind follows from its extension, or from its first byte where that
    /// says nothing; its format from the first record's keys, unless given.
    ///
    /// # Errors
    /// A file that can't be read, holds nothing, or whose first record fits no format.
    pub fn open(path: &Path, format: Option<Format>) -> Result<Self, DataError> {
        let name = path.display().to_string();
        let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
            true => Err(std::io::ErrorKind::IsADirectory.into()),
            false => Ok(file),
        });
        let file = file.map_err(|error| DataError {
            file: name.clone(),
            line: 0,
            problem: error.into(),
        })?;
        Self::index(name, Source::File(Arc::new(Mutex::new(file))), format)
    }

    /// Indexes bytes in memory; `name` stands for the file's, extension included.
    ///
    /// # Errors
    /// Those of [`Dataset::open`].
    pub fn from_bytes(
        name: &str,
        bytes: impl Into<Arc<[u8]>>,
        format: Option<Format>,
    ) -> Result<Self, DataError> {
        Self::index(name.to_owned(), Source::Memory(bytes.into()), format)
    }

    fn index(name: String, source: Source, format: Option<Format>) -> Result<Self, DataError> {
        let fail = |(line, problem): Fault| DataError {
            file: name.clone(),
            line,
            problem,
        };
        let kind = kind(&name, &source).map_err(|error| fail((1, error.into())))?;
        let mut reader = Checksummed::new(source.reader().map_err(|error| fail((1, error.into())))?);
        let Index { records, columns } = index::index(&mut reader, kind).map_err(fail)?;
        let checksum = reader.finish();
        if records.is_empty() {
            return Err(fail((1, Problem::Empty)));
        }
        let mut dataset = Self {
            name,
            source,
            kind,
            format: Format::Text,
            records: records.into(),
            columns: columns.into(),
            checksum,
        };
        dataset.format = match format {
            Some(format) => format,
            None if kind == FileKind::PlainText => Format::Text,
            None => records::recognise(&dataset.value(0)?).map_err(|problem| dataset.error(0, problem))?,
        };
        Ok(dataset)
    }

    /// Records in the file.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Never true: an empty file is an error.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The CRC-32 of the file as it was when it was opened: whether a later one is the same.
    pub fn checksum(&self) -> u32 {
        self.checksum
    }

    /// The file as the caller named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The format, given or recognised.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How the file separates records.
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    /// The line that record `index` starts on, from 1.
    ///
    /// # Panics
    /// Where `index` is not less than [`Dataset::len`].
    pub fn line(&self, index: usize) -> u64 {
        u64::from(self.records[index].line)
    }

    /// Record `index` as the file has it: a JSON value, a table's row as an object of strings, or a
    /// paragraph as a string. Holds keys that training does not look at (`label`, `answers`).
    ///
    /// # Errors
    /// A record that can't be read or is no JSON.
    ///
    /// # Panics
    /// Where `index` is not less than [`Dataset::len`].
    pub fn value(&self, index: usize) -> Result<serde_json::Value, DataError> {
        let Location { offset, length, line } = self.records[index];
        let bytes = self.source.read(offset, length as usize);
        let bytes = bytes.map_err(|error| self.error(index, error.into()))?;
        records::value(bytes, self.kind, &self.columns).map_err(|(below, problem)| DataError {
            file: self.name.clone(),
            line: u64::from(line) + below,
            problem,
        })
    }

    /// Record `index` as an example.
    ///
    /// # Errors
    /// A record that can't be read, or that differs from the file's format.
    ///
    /// # Panics
    /// Where `index` is not less than [`Dataset::len`].
    pub fn example(&self, index: usize) -> Result<Example, DataError> {
        let value = self.value(index)?;
        records::example(value, self.format).map_err(|problem| self.error(index, problem))
    }

    /// All examples in the file's order.
    pub fn examples(&self) -> impl Iterator<Item = Result<Example, DataError>> + '_ {
        (0..self.len()).map(|index| self.example(index))
    }

    fn error(&self, index: usize, problem: Problem) -> DataError {
        DataError {
            file: self.name.clone(),
            line: self.line(index),
            problem,
        }
    }
}

fn kind(name: &str, source: &Source) -> std::io::Result<FileKind> {
    let extension = Path::new(name)
        .extension()
        .and_then(|extension| extension.to_str());
    Ok(match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => FileKind::Table { separator: b',' },
        Some("tsv" | "tab") => FileKind::Table { separator: b'\t' },
        Some("txt" | "md") => FileKind::PlainText,
        // Some call JSON lines .json, and some call an array .jsonl: the first byte tells.
        extension => {
            let mut head = Vec::new();
            source.reader()?.take(4096).read_to_end(&mut head)?;
            let json = matches!(extension, Some("json" | "jsonl" | "ndjson"));
            match head
                .strip_prefix(b"\xEF\xBB\xBF")
                .unwrap_or(&head)
                .trim_ascii_start()
                .first()
            {
                Some(b'[') => FileKind::JsonArray,
                Some(b'{') => FileKind::JsonLines,
                _ if json => FileKind::JsonLines,
                _ => FileKind::PlainText,
            }
        }
    })
}
