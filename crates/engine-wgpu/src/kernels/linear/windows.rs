//! Parts of tensors as bindings: of any row, though bindings start on the device's alignment.

use std::ops::Range;

use anylora_engine::{Error, Result, Tensor};

use crate::Wgpu;
use crate::context::Bind;

/// A binding that begins at or before the wanted bytes.
pub(super) struct Part {
    pub(super) bind: Bind,
    /// Bytes of the binding before the wanted ones.
    pub(super) skipped: u64,
}

/// The bytes `bytes` of a tensor.
pub(super) fn part(gpu: &Wgpu, tensor: &Tensor<Wgpu>, bytes: Range<u64>) -> Part {
    let start = tensor.offset_bytes() + bytes.start;
    let skipped = start % gpu.0.caps.binding_alignment;
    let buffer = tensor.storage().buffer.clone();
    let offset = start - skipped;
    // Kernels read whole vectors; a buffer's size is a multiple of 16.
    let size = (bytes.end - bytes.start + skipped)
        .max(1)
        .next_multiple_of(16)
        .min(buffer.size() - offset);
    Part {
        bind: Bind { buffer, offset, size },
        skipped,
    }
}

/// What a row takes of one tensor.
#[derive(Clone, Copy)]
pub(super) struct RowBits {
    /// Bits of a row, at most.
    pub(super) row: u64,
    /// Bytes of all rows.
    pub(super) all: u64,
    /// Where the tensor starts in its storage, in bytes.
    pub(super) offset: u64,
}

impl RowBits {
    /// A tensor whose first `rows` dimensions are rows.
    pub(super) fn of(tensor: &Tensor<Wgpu>, rows: u64) -> Self {
        let all = tensor.size_bytes() as u64;
        Self {
            row: all * 8 / rows.max(1),
            all,
            offset: tensor.offset_bytes(),
        }
    }
}

/// Rows a window begins on a multiple of, where windows have as many: rows of tiles.
const STEP: u64 = 64;

/// Mesa's llvmpipe ends an invocation's loops after 65,535 rounds in all, without a word. A row of W takes a backward
/// kernel less than two rounds, so that this many stay below.
const SOFTWARE_ROWS: usize = 16_384;

/// Cuts windows of W over which a software adapter could not sum to the end.
pub(super) fn for_software(windows: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let cut = |window: Range<u64>| {
        let end = window.end;
        window
            .step_by(SOFTWARE_ROWS)
            .map(move |start| start..end.min(start + SOFTWARE_ROWS as u64))
    };
    windows.into_iter().flat_map(cut).collect()
}

/// Splits `rows` into windows in which every tensor's part fits a binding.
///
/// # Errors
/// [`Error::BindingLimit`] where not even one row fits.
pub(super) fn windows(
    gpu: &Wgpu,
    op: &'static str,
    rows: u64,
    tensors: &[RowBits],
) -> Result<Vec<Range<u64>>> {
    let caps = &gpu.0.caps;
    let limit = caps.max_binding_bytes;
    let whole = |tensor: &RowBits| {
        (tensor.offset % caps.binding_alignment + tensor.all).next_multiple_of(16) <= limit
    };
    if tensors.iter().all(whole) {
        return Ok(std::iter::once(0..rows).collect());
    }
    // A part begins up to the alignment early and within a word, and ends on a whole vector.
    let room = limit.saturating_sub(caps.binding_alignment + 16) * 8;
    let most = tensors
        .iter()
        .map(|tensor| room / tensor.row.max(1))
        .min()
        .unwrap_or(rows);
    if most == 0 {
        let widest = tensors.iter().map(|tensor| tensor.row).max().unwrap_or(0);
        return Err(Error::BindingLimit {
            op,
            unit: "row at an aligned place",
            bytes: widest.div_ceil(8) + caps.binding_alignment + 16,
            limit,
        });
    }
    let most = if most > STEP { most / STEP * STEP } else { most };
    Ok((0..rows)
        .step_by(most as usize)
        .map(|start| start..rows.min(start + most))
        .collect())
}
