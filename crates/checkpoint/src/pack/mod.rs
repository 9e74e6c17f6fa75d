//! Packs: model folders for the browser.
//!
//! A pack is a Hugging Face folder that loads like any other ([`crate::Checkpoint::open`]), made of parts that a
//! browser can fetch, verify and keep one by one:
//!
//! | file | what |
//! |---|---|
//! | `manifest.json` | [`PackManifest`]: every other file with its length and SHA-256 |
//! | `config.json`, `tokenizer.json`, ... | as in any folder |
//! | `model-00001-of-00003.safetensors`, ... | the weights, at most [`MAX_PART_BYTES`] a file |
//! | `model.safetensors.index.json` | the file of every tensor |
//!
//! Quantized linear layers are bitsandbytes' tensors (the module `bitsandbytes` has the table). The parts of one layer
//! follow each other, the small ones that say how to read the large ones first: `W.quant_state.bitsandbytes__nf4`,
//! `W.quant_map`, `W.nested_quant_map`, `W.nested_absmax`, `W.absmax`, `W`.
//!
//! A tensor `T` that is larger than a shard is split by rows into tensors `T.part-00001-of-00003`, ..., in this order:
//! their shapes differ from `T`'s in the first dimension only, which sums up to `T`'s. All readers of this crate join
//! them again. The packed codes of a 4-bit weight have the shape `[bytes, 1]`, so that a row is a byte of codes.

mod fields;
mod manifest;
#[cfg(not(target_arch = "wasm32"))]
mod shards;
mod split;
#[cfg(not(target_arch = "wasm32"))]
mod writer;

pub use manifest::{MAX_PART_BYTES, PackManifest, PackPart, PackQuantization};
#[cfg(not(target_arch = "wasm32"))]
pub use shards::{PackTensor, shard_bytes};
pub(crate) use split::join;
pub use split::split_part;
#[cfg(not(target_arch = "wasm32"))]
pub use writer::PackWriter;
