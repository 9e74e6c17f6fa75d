//! The table of tensors, checked as a whole against the file's length.

use std::collections::BTreeMap;
use std::ops::Range;

use anylora_quant::GgmlFormat;

use super::reader::Reader;
use crate::{CheckpointError, FloatType, Problem, Problems, Result, TensorFormat};

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct GgufTensor {
    pub(super) format: TensorFormat,
    /// Row-major: GGUF's dimensions in reverse.
    pub(super) shape: Vec<usize>,
    /// Its bytes, counted from the file's start.
    pub(super) range: Range<usize>,
}

/// ggml's limit.
const MAX_DIMENSIONS: u32 = 4;

/// Types that llama.cpp has and this program does not read, by GGUF's number.
const UNREAD: [(u32, &str); 17] = [
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

/// A row of the table as it is written.
struct Row<'a> {
    name: &'a str,
    /// Row-major.
    dimensions: Vec<u64>,
    kind: u32,
    /// From the start of the data.
    offset: u64,
}

/// Reads `count` rows, after which the data start at the next multiple of `alignment`.
///
/// # Errors
/// [`CheckpointError::Malformed`] with every bad tensor, or else [`CheckpointError::Unsupported`] with every one whose
/// type is not read.
pub(super) fn read(
    reader: &mut Reader<'_>,
    count: u64,
    alignment: u64,
) -> Result<BTreeMap<String, GgufTensor>> {
    let mut rows = Vec::new();
    for _ in 0..count {
        rows.push(read_row(reader)?);
    }
    let (file, end) = (reader.file, reader.bytes.len() as u64);
    let start = (reader.at as u64).next_multiple_of(alignment);
    if start > end && count > 0 {
        return Err(reader.error(
            format!("the tensors' data at byte {start}"),
            format!("{end} bytes in all"),
        ));
    }
    let (mut problems, mut unread) = (Problems::default(), Problems::default());
    let mut tensors = BTreeMap::new();
    for row in &rows {
        let mut bad = |expected: String, found: String| {
            let place = format!("tensor `{}`", row.name);
            problems.0.push(Problem::new(file, place, expected, found));
        };
        let Some(format) = format(row.kind) else {
            match UNREAD.iter().find(|(kind, _)| *kind == row.kind) {
                Some((_, name)) => {
                    let place = format!("tensor `{}`", row.name);
                    let expected = "F32, F16, BF16, Q4_0 to Q8_0, Q2_K to Q6_K, IQ4_NL or IQ4_XS";
                    unread.0.push(Problem::new(file, place, expected, *name));
                }
                None => bad("a type that GGUF has".into(), row.kind.to_string()),
            }
            continue;
        };
        let Some((shape, bytes)) = size(format, &row.dimensions) else {
            bad(
                format!("rows of whole {format} blocks that memory can hold"),
                format!("{:?}", row.dimensions),
            );
            continue;
        };
        let range = start
            .checked_add(row.offset)
            .and_then(|at| Some(at..at.checked_add(bytes)?));
        let Some(range) = range.filter(|range| range.end <= end) else {
            bad(
                format!("{bytes} bytes of data within the file's {end}"),
                format!("them at {} after the data's start at {start}", row.offset),
            );
            continue;
        };
        if !row.offset.is_multiple_of(alignment) {
            bad(
                format!("an offset that is a multiple of {alignment}"),
                row.offset.to_string(),
            );
        }
        let tensor = GgufTensor {
            format,
            shape,
            // Within the file's bytes, which are in memory.
            range: range.start as usize..range.end as usize,
        };
        if tensors.insert(row.name.to_string(), tensor).is_some() {
            bad("one tensor of the name".into(), "two".into());
        }
    }
    check_overlaps(file, &tensors, &mut problems);
    problems.into_result()?;
    if unread.0.is_empty() {
        Ok(tensors)
    } else {
        Err(CheckpointError::Unsupported {
            problems: unread,
            hint: "take the model's Q4_K_M or Q8_0 file instead".into(),
        })
    }
}

fn read_row<'a>(reader: &mut Reader<'a>) -> Result<Row<'a>> {
    let name = reader.text("a tensor's name")?;
    let dimensions = reader.u32("a tensor's number of dimensions")?;
    if dimensions > MAX_DIMENSIONS {
        let expected = format!("at most {MAX_DIMENSIONS} dimensions of tensor `{name}`");
        return Err(reader.error(expected, dimensions.to_string()));
    }
    let dimensions = (0..dimensions).map(|_| reader.u64("a tensor's dimension"));
    let mut dimensions = dimensions.collect::<Result<Vec<_>>>()?;
    dimensions.reverse();
    Ok(Row {
        name,
        dimensions,
        kind: reader.u32("a tensor's type")?,
        offset: reader.u64("a tensor's offset")?,
    })
}

fn format(kind: u32) -> Option<TensorFormat> {
    Some(match kind {
        0 => TensorFormat::Dense(FloatType::F32),
        1 => TensorFormat::Dense(FloatType::F16),
        30 => TensorFormat::Dense(FloatType::BF16),
        kind => TensorFormat::Ggml(GgmlFormat::from_ggml_type(kind)?),
    })
}

/// The shape and bytes of a tensor, whose rows must be whole blocks.
fn size(format: TensorFormat, dimensions: &[u64]) -> Option<(Vec<usize>, u64)> {
    let shape: Vec<usize> = dimensions
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect::<Option<_>>()?;
    let len = shape
        .iter()
        .try_fold(1usize, |len, size| len.checked_mul(*size))?;
    let bytes = match format {
        TensorFormat::Dense(dtype) => len.checked_mul(dtype.size())?,
        TensorFormat::Ggml(format) => {
            let row = shape.last().copied().unwrap_or(1);
            format.bytes_of(row)?;
            format.bytes_of(len)?
        }
        _ => return None,
    };
    Some((shape, bytes as u64))
}

/// No byte may belong to two tensors; gaps are allowed.
fn check_overlaps(file: &str, tensors: &BTreeMap<String, GgufTensor>, problems: &mut Problems) {
    let mut in_order: Vec<_> = tensors.iter().collect();
    in_order.sort_by_key(|(_, tensor)| (tensor.range.start, tensor.range.end));
    let (mut end, mut before) = (0, "");
    for (name, tensor) in in_order {
        if tensor.range.start < end && !tensor.range.is_empty() {
            problems.0.push(Problem::new(
                file,
                format!("tensor `{name}`"),
                format!("data from byte {end} on, where `{before}` ends"),
                format!("data from byte {}", tensor.range.start),
            ));
        }
        if tensor.range.end > end {
            (end, before) = (tensor.range.end, name);
        }
    }
}
