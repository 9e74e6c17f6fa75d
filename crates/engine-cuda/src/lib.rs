//! The CUDA engine: [`anylora_engine::Backend`] on the kernels of `cuda/`.
//!
//! - [`Cuda::open`] finds libcuda and NVRTC when it runs: nothing of CUDA is needed to build this, and where something
//!   is missing, [`OpenError`] says what. [`gpus`] lists what is here.
//! - A kernel's variant is compiled by NVRTC for the device when it is first launched, from the sources in this binary.
//!   [`Program::all`] is every variant, and [`Compiler`] compiles them without a GPU.
//! - Work is queued on one stream; memory comes from a pool in the stream's order. Nothing waits for the GPU but reading
//!   values back, which is async. What goes wrong on the device is the error of a later call.
//! - With the feature `emulator`, `Cuda::emulated` runs the same kernels, launched by the same code, on the host.

mod backend;
mod compiler;
mod context;
mod device;
mod driver;
#[cfg(feature = "emulator")]
mod emulator;
mod error;
mod gpu;
mod kernels;
mod launch;
#[cfg(feature = "emulator")]
mod pages;
mod program;
mod waiter;

pub use compiler::Compiler;
pub use device::{Cuda, OpenOptions, Storage};
pub use error::{CompileError, OpenError};
pub use gpu::{GpuReport, gpus};
pub use program::Program;
