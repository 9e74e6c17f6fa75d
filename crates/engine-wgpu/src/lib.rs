//! AnyLoRA's WGSL engine on wgpu: Vulkan, Metal, DX12 and the browser's WebGPU.
//!
//! [`Wgpu`] implements [`anylora_engine::Backend`]. From the outside in:
//!
//! - [`adapters()`] lists what is here; [`Wgpu::open`] chooses by [`anylora_engine::DeviceSpec`] and decides the tier.
//! - `backend.rs` hands each operation to its launcher in `kernels/`, one file an operation.
//! - `context.rs` is what launchers use: bind tensors by name, pass parameters, dispatch; `launch.rs` checks it.
//! - `matrix.rs` says which cooperative matrices kernels may use.
//! - `recorder.rs` collects dispatches into batches and submits them; `pipelines.rs` compiles each kernel once.
//! - `pool.rs` keeps freed memory for reuse and never holds more than the ledger's peak.
//! - `transfer.rs` uploads, copies and clears; `readback.rs` brings values to the host without blocking the caller.
//! - `faults.rs` turns what wgpu reports asynchronously into errors of the next call.
//!
//! Nothing here panics for a device's sake, and nothing blocks on the GPU but an allocation that was refused once.

mod adapters;
mod backend;
mod context;
mod device;
mod error;
mod faults;
mod kernels;
mod launch;
mod matrix;
mod pipelines;
#[cfg(not(target_arch = "wasm32"))]
mod poller;
mod pool;
mod readback;
mod recorder;
#[cfg(test)]
mod tests;
mod transfer;

pub use adapters::{AdapterReport, adapters};
pub use device::{OpenOptions, Wgpu};
pub use error::OpenError;
pub use pool::Storage;
