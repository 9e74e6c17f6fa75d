//! Model families by config.json's `model_type`, on shared parts.
//!
//! - [`registry`]: which families there are; [`Architecture`]: what tells them apart.
//! - [`Loader`]: makes a [`Model`] out of tensors that arrive one at a time, quantizing linear layers on the way.
//! - [`StreamLoader`]: the same out of safetensors files that arrive in pieces.
//! - `Packed`: quantized layers kept in a file for the next start.
//! - `pack`: a model as a folder of parts for the browser; `weight_file_bytes`: how large a model is on disk.
//! - [`Model`]: embedding, blocks from a [`anylora_nn::BlockSource`], final norm and head.
//! - [`adapters`]: a PEFT adapter's matrices on the device.
//! - [`Targets`]: which linear layers an adapter goes on.

mod adapter;
mod architecture;
mod assemble;
mod error;
mod layout;
mod llama;
mod load;
#[cfg(not(target_arch = "wasm32"))]
pub mod merge;
mod mistral;
mod model;
#[cfg(not(target_arch = "wasm32"))]
mod pack;
#[cfg(not(target_arch = "wasm32"))]
mod packed;
mod qwen2;
mod qwen3;
pub mod registry;
mod store;
mod stream;
mod targets;

pub use adapter::adapters;
pub use architecture::Architecture;
pub use error::{ModelError, Result, TensorProblem};
pub use layout::{Role, TensorSpec, layout};
pub use load::{LoadOptions, Loader, Quantization};
pub use model::Model;
#[cfg(not(target_arch = "wasm32"))]
pub use pack::{pack, weight_file_bytes};
#[cfg(not(target_arch = "wasm32"))]
pub use packed::Packed;
pub use stream::StreamLoader;
pub use targets::Targets;
