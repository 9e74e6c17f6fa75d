//! Windows of whole sequences, for operations on `[B, T, H, D]` that may be larger than a binding.

use std::ops::Range;

use anylora_engine::{Error, Result, Tensor, row_windows};

use crate::Wgpu;
use crate::context::Bind;

/// One launch's share of the sequences.
pub(super) struct Window {
    sequences: Range<u64>,
    /// Whether the small tensors are split as well.
    small_split: bool,
}

impl Window {
    /// Splits the first dimension so that every tensor fits a binding. Tensors that are `small`, with a few bytes a
    /// sequence, are bound whole where they can be: a part of them seldom starts at an aligned place.
    pub(super) fn all(
        gpu: &Wgpu,
        op: &'static str,
        large: &[&Tensor<Wgpu>],
        small: &[&Tensor<Wgpu>],
    ) -> Result<Vec<Self>> {
        let limit = gpu.0.caps.max_binding_bytes;
        let small_split = small.iter().any(|tensor| tensor.size_bytes() as u64 > limit);
        let mut bytes: Vec<u64> = large.iter().map(|tensor| sequence_bytes(tensor)).collect();
        if small_split {
            bytes.extend(small.iter().map(|tensor| sequence_bytes(tensor)));
        }
        let sequences = large.first().map_or(0, |tensor| tensor.shape()[0] as u64);
        let windows = row_windows(op, sequences, &bytes, &gpu.0.caps).map_err(of_sequences)?;
        let windows = windows.into_iter().map(|sequences| Self {
            sequences,
            small_split,
        });
        Ok(windows.collect())
    }

    /// How many sequences it has.
    pub(super) fn len(&self) -> u32 {
        (self.sequences.end - self.sequences.start) as u32
    }

    /// Where its first sequence is in a small tensor's binding.
    pub(super) fn first(&self) -> u32 {
        if self.small_split {
            0
        } else {
            self.sequences.start as u32
        }
    }

    pub(super) fn bind(&self, gpu: &Wgpu, large: &Tensor<Wgpu>) -> Bind {
        gpu.bind_rows(large, self.sequences.clone(), sequence_bytes(large))
    }

    pub(super) fn bind_small(&self, gpu: &Wgpu, small: &Tensor<Wgpu>) -> Bind {
        if self.small_split {
            self.bind(gpu, small)
        } else {
            gpu.bind(small)
        }
    }
}

fn sequence_bytes(tensor: &Tensor<Wgpu>) -> u64 {
    (tensor.size_bytes() / tensor.shape()[0].max(1)) as u64
}

fn of_sequences(error: Error) -> Error {
    match error {
        Error::BindingLimit {
            op,
            unit,
            bytes,
            limit,
        } => Error::BindingLimit {
            op,
            unit: if unit == "row" {
                "sequence"
            } else {
                "group of sequences at an aligned place"
            },
            bytes,
            limit,
        },
        error => error,
    }
}
