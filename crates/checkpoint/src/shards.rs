//! The safetensors files of a folder and every tensor's place in them.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde_json::Value;

use crate::fields::{kind, parse_object};
use crate::folder::Files;
use crate::pack;
use crate::safetensors::{Dtype, Entry, Header};
use crate::{CheckpointError, Problem, Problems, Result};

const INDEX: &str = "model.safetensors.index.json";
const WHOLE: &str = "model.safetensors";

/// Where a tensor is: in one piece, or in several that packs split it into.
#[derive(Debug)]
pub(crate) struct Place {
    /// The file of the first piece, for messages.
    pub(crate) file: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// File and bytes of each piece, in order, at least one.
    pub(crate) pieces: Vec<(String, Range<usize>)>,
}

impl Place {
    fn new(file: &str, entry: Entry) -> Self {
        Self {
            file: file.into(),
            dtype: entry.dtype,
            shape: entry.shape,
            pieces: vec![(file.into(), entry.range)],
        }
    }

    /// Bytes of all pieces.
    pub(crate) fn len(&self) -> usize {
        self.pieces.iter().map(|(_, range)| range.len()).sum()
    }

    /// The tensor's bytes, lent where they are in one piece; the headers were checked against their files' lengths.
    pub(crate) fn bytes<'a>(&self, files: &'a Files) -> Cow<'a, [u8]> {
        let bytes = |(file, range): &(String, Range<usize>)| &files[file][range.clone()];
        match self.pieces.as_slice() {
            [piece] => Cow::Borrowed(bytes(piece)),
            pieces => Cow::Owned(pieces.iter().map(bytes).collect::<Vec<_>>().concat()),
        }
    }
}

/// Every tensor of the shards: those that the index names, or else model.safetensors, or else the files that are
/// numbered as shards.
///
/// # Errors
/// [`CheckpointError::Malformed`] with all missing shards, or else the bad tensors of all shards, or else all
/// tensors that are not where the index has them, or else all that lack a part.
pub(crate) fn tensors(files: &Files) -> Result<BTreeMap<String, Place>> {
    let index = match files.get(INDEX) {
        Some(bytes) => read_index(bytes)?,
        None => BTreeMap::new(),
    };
    let shards = match files.get(INDEX) {
        Some(_) => index.values().cloned().collect(),
        None => shards_without_index(files)?,
    };
    let missing = shards.iter().filter(|shard| !files.contains_key(*shard));
    let missing =
        missing.map(|shard| Problem::new(shard, "file", "this shard in the folder", "no such file"));
    Problems(missing.collect()).into_result()?;

    let mut problems = Problems::default();
    let mut tensors = BTreeMap::<String, Place>::new();
    for shard in &shards {
        match Header::parse(shard, &files[shard]) {
            Ok(header) => {
                for (name, entry) in header.tensors {
                    let place = format!("tensor `{name}`");
                    if let Some(Place { file: other, .. }) = tensors.insert(name, Place::new(shard, entry)) {
                        let found = format!("it in {other} too");
                        problems
                            .0
                            .push(Problem::new(shard, place, "it in one shard", found));
                    }
                }
            }
            Err(CheckpointError::Malformed(mut more)) => problems.0.append(&mut more.0),
            Err(error) => return Err(error),
        }
    }
    problems.into_result()?;

    let misplaced = index
        .iter()
        .filter(|(name, file)| tensors.get(*name).is_none_or(|place| place.file != **file));
    let misplaced = misplaced.map(|(name, file)| {
        Problem::new(
            file,
            format!("tensor `{name}`"),
            "it here, as the index has it",
            "no such tensor",
        )
    });
    Problems(misplaced.collect()).into_result()?;
    pack::join(&mut tensors)?;
    Ok(tensors)
}

/// The file of every tensor.
fn read_index(bytes: &[u8]) -> Result<BTreeMap<String, String>> {
    let index = parse_object(INDEX, bytes)?;
    let Some(map) = index.get("weight_map").and_then(Value::as_object) else {
        let found = kind(index.get("weight_map").unwrap_or(&Value::Null));
        return Err(CheckpointError::malformed(
            INDEX,
            "`weight_map`",
            "an object of files by tensor",
            found,
        ));
    };
    let mut problems = Problems::default();
    let mut files = BTreeMap::new();
    for (name, file) in map {
        match file.as_str().filter(|file| !file.contains(['/', '\\'])) {
            Some(file) => {
                files.insert(name.clone(), file.to_string());
            }
            None => {
                let place = format!("tensor `{name}`");
                let expected = "the name of a file in the same folder";
                problems.0.push(Problem::new(INDEX, place, expected, kind(file)));
            }
        }
    }
    problems.into_result()?;
    Ok(files)
}

/// model.safetensors, or else `model-00001-of-00003.safetensors` and its like, with the ones that are missing.
fn shards_without_index(files: &Files) -> Result<BTreeSet<String>> {
    if files.contains_key(WHOLE) {
        return Ok(BTreeSet::from([WHOLE.into()]));
    }
    let numbered: Vec<_> = files.keys().filter_map(|name| shard_count(name)).collect();
    let shards: BTreeSet<_> = match numbered.iter().max() {
        // A folder has fewer than 100,000 shards: five digits.
        Some(count) => (1..=*count)
            .map(|i| format!("model-{i:05}-of-{count:05}.safetensors"))
            .collect(),
        None => BTreeSet::new(),
    };
    if shards.is_empty() {
        let others: Vec<_> = files
            .keys()
            .filter(|name| name.ends_with(".safetensors"))
            .cloned()
            .collect();
        let found = if others.is_empty() {
            "none".into()
        } else {
            others.join(", ")
        };
        return Err(CheckpointError::malformed(
            WHOLE,
            "file",
            "the model's weights in safetensors",
            found,
        ));
    }
    Ok(shards)
}

/// N of `model-XXXXX-of-N.safetensors`.
fn shard_count(name: &str) -> Option<usize> {
    let (number, count) = name
        .strip_prefix("model-")?
        .strip_suffix(".safetensors")?
        .split_once("-of-")?;
    let five = |digits: &str| (digits.len() == 5).then(|| digits.parse().ok()).flatten();
    five(number).and(five(count))
}
