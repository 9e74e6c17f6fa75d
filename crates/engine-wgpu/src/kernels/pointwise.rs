//! Launches of kernels that take the same place of all their tensors at once, and of those that take rows.

use std::ops::Range;

use anylora_engine::{Caps, Result, Tensor, row_windows};

use crate::Wgpu;
use crate::context::Launch;

/// Invocations in a workgroup of these kernels.
pub(crate) const THREADS: u64 = 256;

/// The bits of a quiet NaN, which kernels are told since WGSL can't name it.
pub(crate) const NAN: u32 = 0x7fc0_0000;

/// As many bytes as a window may have that kernels count its elements, of at least 2 bytes, in 31 bits.
const MAX_WINDOW_BYTES: u64 = 1 << 32;

/// A kernel whose invocations take the same 4 elements of every tensor each.
pub(crate) struct Pointwise<'a> {
    pub(crate) op: &'static str,
    pub(crate) kernel: &'static str,
    pub(crate) defines: &'a [(&'a str, &'a str)],
    pub(crate) entry: &'a str,
    /// By the names in the WGSL; all of one length.
    pub(crate) tensors: &'a [(&'a str, &'a Tensor<Wgpu>)],
}

impl Pointwise<'_> {
    /// Runs it, window by window where a tensor is larger than a binding. `params` gives the parameters for a count
    /// of elements.
    pub(crate) fn launch<P: bytemuck::NoUninit>(&self, gpu: &Wgpu, params: impl Fn(u32) -> P) -> Result<()> {
        let len = self.tensors.first().map_or(0, |(_, tensor)| tensor.len()) as u64;
        let size = |tensor: &Tensor<Wgpu>| tensor.dtype().size() as u64;
        let sizes: Vec<u64> = self.tensors.iter().map(|(_, tensor)| size(tensor)).collect();
        for window in windows(gpu, self.op, len, &sizes)? {
            let count = window.end - window.start;
            let bind = |tensor| gpu.bind_rows(tensor, window.clone(), size(tensor));
            let bindings: Vec<_> = self
                .tensors
                .iter()
                .map(|(name, tensor)| (*name, bind(tensor)))
                .collect();
            gpu.launch(&Launch {
                kernel: self.kernel,
                defines: self.defines,
                entry: self.entry,
                params: bytemuck::bytes_of(&params(count as u32)),
                bindings: &bindings,
                workgroups: gpu.spread(count.div_ceil(4 * THREADS)),
            })?;
        }
        Ok(())
    }
}

/// Windows of rows in which every tensor (`row_bytes` each row) fits one binding, and which kernels can count.
pub(crate) fn windows(gpu: &Wgpu, op: &'static str, rows: u64, row_bytes: &[u64]) -> Result<Vec<Range<u64>>> {
    let caps = Caps {
        max_binding_bytes: gpu.0.caps.max_binding_bytes.min(MAX_WINDOW_BYTES),
        ..gpu.0.caps
    };
    row_windows(op, rows, row_bytes, &caps)
}

/// Elements that kernels take at once along rows whose parts all have these lengths, and its define WIDTH.
pub(crate) fn width(lengths: &[usize]) -> (usize, &'static str) {
    if lengths.iter().all(|length| length.is_multiple_of(4)) {
        (4, "4")
    } else {
        (1, "1")
    }
}
