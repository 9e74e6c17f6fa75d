//! Launches of kernels that take the same place of all their tensors at once.

use anylora_engine::{Error, Result, Tensor, row_windows};

use crate::Wgpu;
use crate::context::Launch;

/// Invocations in a workgroup of these kernels.
const THREADS: u64 = 256;

/// A kernel whose invocations take WIDTH elements of every tensor each: 4 where the length allows it, else 1.
pub(crate) struct Pointwise<'a> {
    pub(crate) op: &'static str,
    pub(crate) kernel: &'static str,
    /// All but WIDTH.
    pub(crate) defines: &'a [(&'a str, &'a str)],
    pub(crate) entry: &'a str,
    /// By the names in the WGSL; all of one length.
    pub(crate) tensors: &'a [(&'a str, &'a Tensor<Wgpu>)],
}

impl Pointwise<'_> {
    /// Runs it, window by window where a tensor is larger than a binding. `params` gives the parameters for a count
    /// of vectors of WIDTH elements.
    pub(crate) fn launch<P: bytemuck::NoUninit>(&self, gpu: &Wgpu, params: impl Fn(u32) -> P) -> Result<()> {
        let len = self.tensors.first().map_or(0, |(_, tensor)| tensor.len());
        let (width, name) = if len.is_multiple_of(4) { (4, "4") } else { (1, "1") };
        let mut defines = self.defines.to_vec();
        defines.push(("WIDTH", name));
        let sizes: Vec<u64> = self
            .tensors
            .iter()
            .map(|(_, tensor)| (width * tensor.dtype().size()) as u64)
            .collect();
        for window in row_windows(self.op, (len / width) as u64, &sizes, &gpu.0.caps)? {
            let count = window.end - window.start;
            let bindings: Vec<_> = self
                .tensors
                .iter()
                .zip(&sizes)
                .map(|((name, tensor), size)| (*name, gpu.bind_rows(tensor, window.clone(), *size)))
                .collect();
            gpu.launch(&Launch {
                kernel: self.kernel,
                defines: &defines,
                entry: self.entry,
                params: bytemuck::bytes_of(&params(to_u32(self.op, count)?)),
                bindings: &bindings,
                workgroups: gpu.spread(count.div_ceil(THREADS)),
            })?;
        }
        Ok(())
    }
}

/// A size as kernels take it.
pub(crate) fn to_u32(op: &'static str, size: u64) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::Argument {
        op,
        what: format!("{size} is more than kernels count, {}", u32::MAX),
    })
}
