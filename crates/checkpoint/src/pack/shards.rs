//! Which tensor goes into which shard.

use super::MAX_PART_BYTES;
use super::split::part_name;
use crate::safetensors::{HeaderEntry, header_of};
use crate::{CheckpointError, FloatType, Problem, Problems, Result};

/// A tensor that will be written into a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackTensor {
    /// Its name.
    pub name: String,
    /// `F32`, `F16`, `BF16` or `U8`.
    dtype: &'static str,
    /// Row-major.
    pub shape: Vec<usize>,
    /// Bytes of a value.
    size: usize,
}

impl PackTensor {
    /// A tensor of floats.
    pub fn floats(name: impl Into<String>, dtype: FloatType, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            dtype: dtype.name(),
            shape: shape.into(),
            size: dtype.size(),
        }
    }

    /// A tensor of bytes (U8).
    pub fn bytes(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            name: name.into(),
            dtype: "U8",
            shape: shape.into(),
            size: 1,
        }
    }

    /// Bytes of all values.
    pub fn len(&self) -> usize {
        self.shape.iter().product::<usize>() * self.size
    }

    /// Whether a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Room for one entry of a header beside the tensor's name: its type, shape and offsets.
const ENTRY: usize = 160;

/// Parts of a tensor start at a multiple of so many rows, so that their bytes stay aligned.
const ALIGNED_ROWS: usize = 64;

/// Tensors by shard, in their order; none is larger than `max` bytes with its header.
///
/// # Errors
/// [`CheckpointError::Unsupported`] with every tensor of which one row does not fit into a shard.
pub(super) fn plan(tensors: Vec<PackTensor>, max: usize) -> Result<Vec<Vec<PackTensor>>> {
    let mut problems = Problems::default();
    let mut shards: Vec<Vec<PackTensor>> = vec![Vec::new()];
    // A header has 8 bytes of length, its metadata, and up to 7 bytes of padding.
    let start = header_of(&[]).len() + 8;
    let mut used = start;
    for tensor in tensors {
        let Some(parts) = split(&tensor, max - start) else {
            problems.0.push(Problem::new(
                "pack",
                format!("tensor `{}`", tensor.name),
                format!("rows of at most {max} bytes"),
                format!("{} {:?}", tensor.dtype, tensor.shape),
            ));
            continue;
        };
        for part in parts {
            let bytes = part.len() + part.name.len() + ENTRY;
            let is_started = shards.last().is_some_and(|shard| !shard.is_empty());
            if used + bytes > max && is_started {
                shards.push(Vec::new());
                used = start;
            }
            used += bytes;
            if let Some(shard) = shards.last_mut() {
                shard.push(part);
            }
        }
    }
    if problems.0.is_empty() {
        Ok(shards)
    } else {
        let hint = "pack it with --quant nf4, which makes its rows smaller".to_owned();
        Err(CheckpointError::Unsupported { problems, hint })
    }
}

/// Bytes of each file that a [`super::PackWriter`] writes of these tensors, its header counted, where a file has at most
/// `max_bytes`. Without a limit (`usize::MAX`) it is one file, as [`crate::ModelWriter`] writes it.
///
/// # Errors
/// [`CheckpointError::Unsupported`] with every tensor of which a row does not fit into a file.
pub fn shard_bytes(tensors: Vec<PackTensor>, max_bytes: usize) -> Result<Vec<u64>> {
    let bytes = |tensors: &Vec<PackTensor>| {
        let values: usize = tensors.iter().map(PackTensor::len).sum();
        (header(tensors).len() + values) as u64
    };
    Ok(plan(tensors, max_bytes)?.iter().map(bytes).collect())
}

/// The tensor, or its parts where it is larger than `max` bytes with its entry; None where a row is.
fn split(tensor: &PackTensor, max: usize) -> Option<Vec<PackTensor>> {
    // The suffix of a part's name.
    let max = max.checked_sub(tensor.name.len() + ".part-00001-of-00001".len() + ENTRY)?;
    if tensor.len() <= max {
        return Some(vec![tensor.clone()]);
    }
    let rows = tensor.shape[0];
    let mut most = max / (tensor.len() / rows);
    if most > ALIGNED_ROWS {
        most -= most % ALIGNED_ROWS;
    }
    if most == 0 {
        return None;
    }
    let count = rows.div_ceil(most);
    let parts = (0..count).map(|i| {
        let mut part = tensor.clone();
        part.name = part_name(&tensor.name, i, count);
        part.shape[0] = most.min(rows - i * most);
        part
    });
    Some(parts.collect())
}

/// The header of a shard.
pub(super) fn header(tensors: &[PackTensor]) -> Vec<u8> {
    let entries: Vec<HeaderEntry<'_>> = tensors
        .iter()
        .map(|tensor| {
            let PackTensor {
                name, dtype, shape, ..
            } = tensor;
            (name.as_str(), *dtype, shape.as_slice(), tensor.len())
        })
        .collect();
    header_of(&entries)
}

/// [`MAX_PART_BYTES`] as a size in memory.
pub(super) const MAX: usize = MAX_PART_BYTES as usize;
