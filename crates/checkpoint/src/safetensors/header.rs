//! The header of a file, checked as a whole before any tensor is touched.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::Dtype;
use crate::fields::kind;
use crate::{CheckpointError, Problem, Problems, Result};

/// The format's own limit.
pub(super) const MAX_HEADER: u64 = 100_000_000;

/// A checked header.
#[derive(Debug)]
pub(crate) struct Header {
    /// By name.
    pub(crate) tensors: BTreeMap<String, Entry>,
    /// The texts of `__metadata__`.
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Its bytes, counted from the file's start.
    pub(crate) range: Range<usize>,
}

/// A file without room for its header's length.
pub(super) fn too_short(file: &str, len: usize) -> CheckpointError {
    CheckpointError::malformed(file, "header length", "8 bytes", format!("{len} bytes in all"))
}

/// The header's length, which is at most `limit` in a file of `len` bytes.
pub(super) fn header_length(file: &str, length: [u8; 8], limit: u64, len: usize) -> Result<usize> {
    let length = u64::from_le_bytes(length);
    let fits = usize::try_from(length).ok().filter(|_| length <= limit);
    fits.ok_or_else(|| {
        let expected = format!("at most {limit} bytes, as the file has {len}");
        CheckpointError::malformed(file, "header length", expected, length.to_string())
    })
}

impl Header {
    /// Reads the header at the start of `bytes`, which are a whole file.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every bad tensor.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self> {
        let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
            return Err(too_short(file, bytes.len()));
        };
        let limit = MAX_HEADER.min(rest.len() as u64);
        let length = header_length(file, *length, limit, bytes.len())?;
        Self::from_json(file, &rest[..length], bytes.len())
    }

    /// The header of a file of `len` bytes from its JSON, which begins at byte 8.
    ///
    /// # Errors
    /// As [`Header::parse`].
    pub(crate) fn from_json(file: &str, json: &[u8], len: usize) -> Result<Self> {
        let RawHeader(raw) =
            serde_json::from_slice(json).map_err(|error| CheckpointError::json(file, &error))?;
        let data = 8 + json.len();
        let mut problems = Problems::default();
        let mut header = Self {
            tensors: BTreeMap::new(),
            metadata: BTreeMap::new(),
        };
        for (name, value) in raw {
            if name == "__metadata__" {
                header.read_metadata(file, &value, &mut problems);
                continue;
            }
            let place = format!("tensor `{name}`");
            match Entry::parse(&value, data, len) {
                Ok(entry) => {
                    if header.tensors.insert(name, entry).is_some() {
                        problems.0.push(Problem::new(file, place, "one entry", "two"));
                    }
                }
                Err((expected, found)) => problems.0.push(Problem::new(file, place, expected, found)),
            }
        }
        problems.into_result()?;
        header.check_ranges(file, data, len)?;
        Ok(header)
    }

    fn read_metadata(&mut self, file: &str, value: &Value, problems: &mut Problems) {
        let texts = value.as_object().and_then(|object| {
            let entries = object.iter();
            entries
                .map(|(key, text)| Some((key.clone(), text.as_str()?.to_string())))
                .collect()
        });
        match texts {
            Some(texts) => self.metadata = texts,
            None => problems
                .0
                .push(Problem::new(file, "`__metadata__`", "texts by name", kind(value))),
        }
    }

    /// The tensors must follow each other from the header's end to the file's end.
    fn check_ranges(&self, file: &str, data: usize, end: usize) -> Result<()> {
        let mut in_order: Vec<_> = self.tensors.iter().collect();
        in_order.sort_by_key(|(_, entry)| (entry.range.start, entry.range.end));
        let mut problems = Problems::default();
        let (mut at, mut before) = (data, "the header");
        for (name, entry) in in_order {
            if entry.range.start != at {
                problems.0.push(Problem::new(
                    file,
                    format!("tensor `{name}`"),
                    format!("its first byte at {}, where {before} ends", at - data),
                    format!("{}", entry.range.start - data),
                ));
            }
            at = at.max(entry.range.end);
            before = name;
        }
        if at != end && problems.0.is_empty() {
            let found = format!("{} bytes", end - data);
            let expected = format!("{} bytes of tensors after the header", at - data);
            problems.0.push(Problem::new(file, "length", expected, found));
        }
        problems.into_result()
    }
}

impl Entry {
    /// One entry of the header, or what was expected and found.
    fn parse(value: &Value, data: usize, end: usize) -> std::result::Result<Self, (String, String)> {
        let name = value.get("dtype").and_then(Value::as_str);
        let Some(dtype) = name.and_then(Dtype::from_name) else {
            let found = value.get("dtype").unwrap_or(&Value::Null);
            let expected = "a `dtype` of the safetensors format, such as \"F32\" or \"BF16\"";
            return Err((expected.into(), kind(found)));
        };
        let Some(shape) = value.get("shape").and_then(sizes) else {
            let found = value.get("shape").unwrap_or(&Value::Null);
            return Err(("a `shape` of whole numbers".into(), kind(found)));
        };
        let offsets = value.get("data_offsets").and_then(sizes);
        let Some([start, stop]) = offsets.as_deref() else {
            let found = value.get("data_offsets").unwrap_or(&Value::Null);
            return Err(("two `data_offsets`".into(), kind(found)));
        };
        let room = end - data;
        if start > stop || *stop > room {
            let expected =
                format!("`data_offsets` in ascending order within the {room} bytes that follow the header");
            return Err((expected, format!("[{start}, {stop}]")));
        }
        let bits = shape
            .iter()
            .try_fold(dtype.bits, |bits, size| bits.checked_mul(*size));
        let found = format!("{} bytes", stop - start);
        match bits {
            Some(bits) if bits.is_multiple_of(8) && bits / 8 == stop - start => Ok(Self {
                dtype,
                shape,
                range: data + start..data + stop,
            }),
            Some(bits) => Err((
                format!("{} bytes for {} {shape:?}", bits.div_ceil(8), dtype.name),
                found,
            )),
            None => Err((format!("a shape that memory can hold, not {shape:?}"), found)),
        }
    }
}

fn sizes(value: &Value) -> Option<Vec<usize>> {
    let items = value.as_array()?.iter();
    items.map(|item| usize::try_from(item.as_u64()?).ok()).collect()
}

/// The header's entries in order, with names that come twice.
struct RawHeader(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<RawHeader, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(RawHeader(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
