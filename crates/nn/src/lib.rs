//! Layers on the [`anylora_engine::Backend`] trait, for decoder-only transformers.
//!
//! A layer is written once, generic over [`Forward`]: with a [`anylora_engine::Tape`] its operations are recorded for
//! backward, with [`Eager`] they run and what is no longer needed is freed at once. So training's first pass, its
//! replay, evaluation and prefill are the same code and give the same bits.
//!
//! - [`FrozenLinear`]: a weight in any format, a bias, and a trained [`LoraAdapter`] where one is attached.
//! - [`RmsNorm`], [`Attention`], [`Mlp`], [`Rope`]: the parts of a [`Block`].
//! - [`BlockSource`]: where blocks come from, one at a time.
//! - [`Adapters`]: the LoRA matrices of a whole model; [`KvCache`]: what generation keeps.

mod adapters;
mod attention;
mod block;
mod forward;
mod kv_cache;
mod linear;
mod lora;
mod mlp;
mod norm;
mod rope;
mod source;

pub use adapters::{Adapters, BlockAdapters};
pub use attention::Attention;
pub use block::{Block, Context};
pub use forward::{Eager, Forward};
pub use kv_cache::{CacheStep, KvCache};
pub use linear::{FrozenLinear, Projection};
pub use lora::LoraAdapter;
pub use mlp::Mlp;
pub use norm::RmsNorm;
pub use rope::{Rope, RopeScaling, yarn_attention_factor};
pub use source::{BlockSource, Resident};
