//! Block quantization in pure Rust: 4-bit NF4 and FP4, with and without double quantization, bit for bit
//! as bitsandbytes writes them, so that a checkpoint quantized by either loads in the other.
//!
//! A flat tensor of `len` f32 values is cut into blocks of [`BlockSize`] values, the last one possibly
//! short. Each block keeps one f32, its `absmax`, and one 4-bit code a value:
//!
//! ```text
//! absmax[b] = max |x[i]|, i in block b
//! code[i]   = the level nearest to x[i] / absmax[b]; halfway takes the lower code
//! x'[i]     = levels[code[i]] * absmax[b]
//! ```
//!
//! Double quantization ([`DoubleQuantized`]) stores the absmax themselves in 8 bits each.
//!
//! Sources: QLoRA, arXiv 2305.14314, sections 2 and 3; bitsandbytes 0.50.2, whose CPU path made the
//! goldens in `tests/fixtures/nf4`.
//!
//! ```
//! use anylora_quant::{BlockSize, Codebook, quantize};
//!
//! let weights: Vec<f32> = (0..200).map(|i| (i as f32 * 0.37).sin()).collect();
//! let quantized = quantize(&weights, Codebook::Nf4, BlockSize::default())?.double_quantize()?;
//! assert_eq!(quantized.packed.len(), 100);
//! let restored = quantized.dequantize();
//! assert!(weights.iter().zip(&restored).all(|(a, b)| (a - b).abs() < 0.2));
//! # Ok::<(), anylora_quant::QuantError>(())
//! ```
//!
//! [`GgmlFormat`] are llama.cpp's block formats, which are only read.
//!
//! A tensor too large to hold in f32 goes through [`Quantizer`] in chunks. Work is spread over rayon's
//! threads (in order on wasm32); the bits never depend on their number, nor on the SIMD level.

mod block_size;
mod codebook;
mod double;
mod dynamic_map;
mod error;
mod ggml;
mod parallel;
mod quantize;
mod quantized;
mod simd;
mod torch_mean;

pub use block_size::BlockSize;
pub use codebook::Codebook;
pub use double::{DoubleQuantized, NESTED_BLOCK};
pub use dynamic_map::DYNAMIC_MAP_SIGNED;
pub use error::QuantError;
pub use ggml::GgmlFormat;
pub use quantize::{Quantizer, quantize};
pub use quantized::{Absmax, Quantized4};
