//! What launchers use: name a kernel, give its parameters, launch.
//!
//! ```text
//! gpu.launch(Launch {
//!     file: "rms_norm",
//!     defines: &[("ACT", act(x.dtype()))],
//!     kernel: "rms_norm_backward",
//!     blocks: rows,
//!     threads: 256,
//!     shared_bytes: 0,
//!     arguments: arguments![x, weight, dy, dx, columns, eps],
//! })
//! ```
//!
//! `file` and `defines` name a line of `cuda/variants`. A tensor's argument is its address; numbers have the kernel's
//! types, which the emulator compares. A launch returns at once.

use std::ffi::c_void;

use anylora_engine::{DType, Error, Result, Tensor};
use bytemuck::{Pod, Zeroable};

use crate::Cuda;
use crate::program::Program;

/// One kernel launch.
pub(crate) struct Launch<'a> {
    /// The file's name in `cuda/`.
    pub(crate) file: &'static str,
    /// The variant, in the order of `cuda/variants`.
    pub(crate) defines: &'a [(&'static str, &'static str)],
    /// The function.
    pub(crate) kernel: &'a str,
    /// How many; none is no work.
    pub(crate) blocks: u64,
    /// As the kernel says.
    pub(crate) threads: u32,
    /// Of memory that the launch sizes.
    pub(crate) shared_bytes: u32,
    /// In the kernel's order.
    pub(crate) arguments: Arguments,
}

/// How much of a kernel runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    pub(crate) blocks: u32,
    pub(crate) threads: u32,
    pub(crate) shared_bytes: u32,
}

/// A kernel's parameters.
#[derive(Default)]
pub(crate) struct Arguments {
    /// Each one's bytes, on an alignment of 8.
    values: Vec<Vec<u64>>,
    /// Each one's size.
    pub(crate) sizes: Vec<u32>,
    /// A letter each: p an address, u and l words of 4 and 8 bytes, f an f32, s a struct.
    pub(crate) kinds: String,
}

impl Arguments {
    pub(crate) fn push(&mut self, argument: impl Argument) {
        argument.push(self);
    }

    /// Where each one's value is.
    pub(crate) fn pointers(&mut self) -> Vec<*mut c_void> {
        self.values
            .iter_mut()
            .map(|value| value.as_mut_ptr().cast())
            .collect()
    }

    fn add(&mut self, kind: char, bytes: &[u8]) {
        let mut value = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut value)[..bytes.len()].copy_from_slice(bytes);
        self.values.push(value);
        self.sizes.push(bytes.len() as u32);
        self.kinds.push(kind);
    }
}

/// What a kernel takes.
pub(crate) trait Argument {
    fn push(self, to: &mut Arguments);
}

impl Argument for u32 {
    fn push(self, to: &mut Arguments) {
        to.add('u', &self.to_ne_bytes());
    }
}

impl Argument for u64 {
    fn push(self, to: &mut Arguments) {
        to.add('l', &self.to_ne_bytes());
    }
}

impl Argument for f32 {
    fn push(self, to: &mut Arguments) {
        to.add('f', &self.to_ne_bytes());
    }
}

impl Argument for Address {
    fn push(self, to: &mut Arguments) {
        to.add('p', &self.0.to_ne_bytes());
    }
}

impl Argument for &Tensor<Cuda> {
    fn push(self, to: &mut Arguments) {
        address(self).push(to);
    }
}

/// A struct of the kernel's.
pub(crate) struct Struct<T>(pub(crate) T);

impl<T: Pod> Argument for Struct<T> {
    fn push(self, to: &mut Arguments) {
        to.add('s', bytemuck::bytes_of(&self.0));
    }
}

/// A place in the device's memory; 0 is null.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub(crate) struct Address(pub(crate) u64);

/// Where a tensor, or view, begins.
pub(crate) fn address(tensor: &Tensor<Cuda>) -> Address {
    Address(tensor.storage().address + tensor.offset_bytes())
}

/// [`Arguments`] of these, in order.
macro_rules! arguments {
    ($($argument:expr),* $(,)?) => {{
        let mut arguments = $crate::launch::Arguments::default();
        $(arguments.push($argument);)*
        arguments
    }};
}
pub(crate) use arguments;

/// A float type as the kernels name it.
pub(crate) const fn float(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        _ => "f32",
    }
}

/// Blocks of 256 threads for a thread an element.
pub(crate) const fn elementwise(length: usize) -> u64 {
    (length as u64).div_ceil(256)
}

/// A size as kernels count it.
///
/// # Errors
/// [`Error::Argument`] from 2^32 on.
pub(crate) fn count(op: &'static str, size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| Error::Argument {
        op,
        what: format!("a dimension of {size} is too large for CUDA's kernels"),
    })
}

impl Cuda {
    /// Queues a kernel.
    pub(crate) fn launch(&self, launch: Launch<'_>) -> Result<()> {
        let Launch {
            file,
            defines,
            kernel,
            blocks,
            threads,
            shared_bytes,
            mut arguments,
        } = launch;
        if blocks == 0 {
            return Ok(());
        }
        // CUDA's limit on the first dimension of a grid.
        let blocks = u32::try_from(blocks).ok().filter(|blocks| *blocks < 1 << 31);
        let blocks =
            blocks.ok_or_else(|| Error::Device(format!("{kernel}: too many blocks for one launch")))?;
        let program = Program {
            file,
            defines: defines.to_vec(),
        };
        let grid = Grid {
            blocks,
            threads,
            shared_bytes,
        };
        self.driver().launch(&program, kernel, grid, &mut arguments)
    }
}
