//! Model families by config.json's `model_type`, on shared parts.
//!
//! - [`registry`]: which families there are; [`Architecture`]: what tells them apart.
//! - [`Loader`]: makes a [`Model`] out of tensors that arrive one at a time, quantizing linear layers on the way.
//! - [`Model`]: embedding, blocks from a [`anylora_nn::BlockSource`], final norm and head.
//! - [`Targets`]: which linear layers an adapter goes on.

mod architecture;
mod error;
mod layout;
mod llama;
mod load;
mod mistral;
mod model;
mod qwen2;
mod qwen3;
pub mod registry;
mod store;
mod targets;

pub use architecture::Architecture;
pub use error::{ModelError, Result, TensorProblem};
pub use layout::{Role, TensorSpec, layout};
pub use load::{LoadOptions, Loader, Quantization};
pub use model::Model;
pub use targets::{TargetModules, Targets};
