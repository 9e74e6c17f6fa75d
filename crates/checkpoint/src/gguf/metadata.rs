//! The metadata: values by key. Lists stay in the file until they are asked for.

use std::collections::BTreeMap;

use super::reader::Reader;
use crate::{Problem, Problems, Result};

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Meta {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List {
        /// GGUF's number for the items' type.
        item: u32,
        len: u64,
        /// Where the first item is in the file.
        at: usize,
    },
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

/// Lists of lists are in the format's grammar, and nothing uses them.
const MAX_DEPTH: usize = 4;

impl Meta {
    fn read(reader: &mut Reader<'_>, kind: u32, depth: usize) -> Result<Self> {
        let what = "a metadata value";
        let number = |reader: &mut Reader<'_>, len| reader.take(len, what).map(le);
        Ok(match kind {
            0 => Self::Unsigned(number(reader, 1)?),
            1 => Self::Signed(i64::from(number(reader, 1)? as i8)),
            2 => Self::Unsigned(number(reader, 2)?),
            3 => Self::Signed(i64::from(number(reader, 2)? as i16)),
            4 => Self::Unsigned(number(reader, 4)?),
            5 => Self::Signed(i64::from(number(reader, 4)? as i32)),
            6 => Self::Float(f64::from(f32::from_bits(reader.u32(what)?))),
            7 => Self::Bool(number(reader, 1)? != 0),
            TEXT => Self::Text(reader.text(what)?.to_string()),
            LIST => Self::read_list(reader, depth)?,
            10 => Self::Unsigned(number(reader, 8)?),
            11 => Self::Signed(number(reader, 8)? as i64),
            12 => Self::Float(f64::from_bits(reader.u64(what)?)),
            _ => return Err(reader.error("a metadata type from 0 to 12", kind.to_string())),
        })
    }

    fn read_list(reader: &mut Reader<'_>, depth: usize) -> Result<Self> {
        let (item, len) = (reader.u32("a list's type")?, reader.u64("a list's length")?);
        let at = reader.at;
        let list = Self::List { item, len, at };
        match item {
            TEXT => {
                for _ in 0..len {
                    reader.text("a list's text")?;
                }
            }
            LIST if depth < MAX_DEPTH => {
                for _ in 0..len {
                    Self::read_list(reader, depth + 1)?;
                }
            }
            _ => {
                let size = match item {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    10..=12 => 8,
                    _ => return Err(reader.error("a list of numbers or texts", format!("type {item}"))),
                };
                reader.take(len.saturating_mul(size), "a list")?;
            }
        }
        Ok(list)
    }
}

/// Up to 8 little-endian bytes as a number.
fn le(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// All values of a file.
#[derive(Debug)]
pub(super) struct Metadata {
    values: BTreeMap<String, Meta>,
}

impl Metadata {
    /// Reads `count` values.
    pub(super) fn read(reader: &mut Reader<'_>, count: u64) -> Result<Self> {
        let mut values = BTreeMap::new();
        for _ in 0..count {
            let key = reader.text("a metadata key")?;
            let kind = reader.u32("a metadata type")?;
            let value = Meta::read(reader, kind, 0)?;
            if values.insert(key.to_string(), value).is_some() {
                return Err(reader.error("every key once", format!("`{key}` twice")));
            }
        }
        Ok(Self { values })
    }

    /// A view that reads lists out of the file's bytes and collects what is wrong.
    pub(super) fn view<'a>(&'a self, file: &'a str, bytes: &'a [u8]) -> MetaView<'a> {
        MetaView {
            file,
            bytes,
            metadata: self,
            problems: Problems::default(),
        }
    }
}

/// Typed reading of the metadata.
pub(super) struct MetaView<'a> {
    pub(super) file: &'a str,
    bytes: &'a [u8],
    metadata: &'a Metadata,
    pub(super) problems: Problems,
}

impl<'a> MetaView<'a> {
    pub(super) fn problem(&mut self, key: &str, expected: impl Into<String>, found: impl Into<String>) {
        let place = format!("`{key}`");
        self.problems
            .0
            .push(Problem::new(self.file, place, expected, found));
    }

    fn typed<T>(&mut self, key: &str, expected: &str, read: impl FnOnce(&'a Meta) -> Option<T>) -> Option<T> {
        let value = self.metadata.values.get(key)?;
        let result = read(value);
        if result.is_none() {
            let found = match value {
                Meta::Unsigned(number) => number.to_string(),
                Meta::Signed(number) => number.to_string(),
                Meta::Float(number) => number.to_string(),
                Meta::Bool(value) => value.to_string(),
                Meta::Text(text) => format!("a text of {} bytes", text.len()),
                Meta::List { item, len, .. } => format!("a list of {len} (type {item})"),
            };
            self.problem(key, expected, found);
        }
        result
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.metadata.values.contains_key(key)
    }

    pub(super) fn unsigned(&mut self, key: &str) -> Option<u64> {
        self.typed(key, "a whole number", |value| match value {
            Meta::Unsigned(number) => Some(*number),
            Meta::Signed(number) => u64::try_from(*number).ok(),
            _ => None,
        })
    }

    pub(super) fn float(&mut self, key: &str) -> Option<f64> {
        self.typed(key, "a number", |value| match value {
            Meta::Float(number) => Some(*number),
            _ => None,
        })
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        self.typed(key, "true or false", |value| match value {
            Meta::Bool(value) => Some(*value),
            _ => None,
        })
    }

    pub(super) fn text(&mut self, key: &str) -> Option<&'a str> {
        self.typed(key, "a text", |value| match value {
            Meta::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A token id.
    pub(super) fn token(&mut self, key: &str) -> Option<u32> {
        let id = self.unsigned(key)?;
        let result = u32::try_from(id).ok();
        if result.is_none() {
            self.problem(key, "a token id below 2^32", id.to_string());
        }
        result
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<&'a str>> {
        let mut reader = self.list(key, "a list of texts", |item| item == TEXT)?;
        // The lengths were checked when the metadata was read, so nothing is cut short here.
        Some((0..reader.1).map_while(|_| reader.0.text("").ok()).collect())
    }

    /// A list of 32-bit whole numbers, or of f32 as their bits.
    fn words(&mut self, key: &str, expected: &str, types: &[u32]) -> Option<Vec<u32>> {
        let mut reader = self.list(key, expected, |item| types.contains(&item))?;
        Some((0..reader.1).map_while(|_| reader.0.u32("").ok()).collect())
    }

    pub(super) fn floats(&mut self, key: &str) -> Option<Vec<f32>> {
        let words = self.words(key, "a list of 32-bit floats", &[6])?;
        Some(words.into_iter().map(f32::from_bits).collect())
    }

    pub(super) fn integers(&mut self, key: &str) -> Option<Vec<u32>> {
        self.words(key, "a list of 32-bit whole numbers", &[4, 5])
    }

    fn list(&mut self, key: &str, expected: &str, fits: impl Fn(u32) -> bool) -> Option<(Reader<'a>, u64)> {
        let (file, bytes) = (self.file, self.bytes);
        self.typed(key, expected, |value| match value {
            Meta::List { item, len, at } if fits(*item) => Some((Reader { file, bytes, at: *at }, *len)),
            _ => None,
        })
    }
}
