//! Model and adapter files: safetensors, GGUF, config.json, PEFT adapters; bytes in, no printing.
//!
//! [`Checkpoint::open`] reads a model's hyperparameters and the places of its tensors; [`Checkpoint::read`] lends one
//! tensor in its storage format. Whatever the file format, names are those of transformers. Every bad file is a
//! [`CheckpointError`] that names file, place, what was expected and what was found, with all bad places of one kind
//! listed at once; nothing here panics on a bad file or allocates more than its size warrants.

mod adapter;
mod bitsandbytes;
mod bytes;
mod checkpoint;
mod config;
mod error;
mod fields;
mod folder;
mod generation;
mod gguf;
mod nearest;
#[cfg(not(target_arch = "wasm32"))]
mod open;
mod pack;
mod safetensors;
mod shards;
mod side_files;
mod tensor;
mod tokenizer;
#[cfg(not(target_arch = "wasm32"))]
mod write;

pub use adapter::{Adapter, AdapterConfig, BadPattern, LoraWeights, Patterns, TargetModules};
pub use bitsandbytes::{QuantPart, QuantState};
pub use bytes::FileBytes;
pub use checkpoint::{Checkpoint, FileFormat};
pub use config::{ModelConfig, RopeConfig, RopeScaling};
pub use error::{CheckpointError, Problem, Problems, Result};
pub use folder::{Files, SideFiles};
pub use generation::GenerationConfig;
pub use pack::{MAX_PART_BYTES, PackManifest, PackPart, PackQuantization, split_part};
#[cfg(not(target_arch = "wasm32"))]
pub use pack::{PackTensor, PackWriter, shard_bytes};
pub use safetensors::{SafetensorsWriter, ShardReader, TensorPiece, TensorSpec};
pub use tensor::{FloatType, StoredTensor, TensorFormat, TensorInfo, Values};
pub use tokenizer::TokenizerConfig;
#[cfg(not(target_arch = "wasm32"))]
pub use write::{ModelWriter, without_path, write_atomically};
