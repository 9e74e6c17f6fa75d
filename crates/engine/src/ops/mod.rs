//! The operations, checked and allocated. `M = batch * time`; "act" is f32, or f16 or bf16 where the device has it.
//!
//! Every function returns [`crate::Error::Shape`], [`crate::Error::DType`] or [`crate::Error::Argument`] for
//! arguments that don't fit, [`crate::Error::OutOfMemory`] where a result or its scratch finds no room, and
//! device errors. Results are of kind activations, and what lives no longer than the call is scratch.

mod attention;
mod decode;
mod elementwise;
mod embedding;
mod head_loss;
mod linear;
mod lora;
mod optimizer;
mod rms_norm;
mod rope;
mod swiglu;

pub use attention::{AttentionInput, attention, attention_backward};
pub use decode::{attention_decode, cache_append, logits};
pub use elementwise::{add, add_assign, cast, copy, fill, scale};
pub use embedding::embedding;
pub use head_loss::{HeadLoss, head_loss};
pub use linear::{linear, linear_backward};
pub use lora::{LoraMatrices, lora_linear, lora_linear_backward};
pub use optimizer::{adamw, sum_squares};
pub use rms_norm::{rms_norm, rms_norm_backward};
pub use rope::rope;
pub use swiglu::{swiglu, swiglu_backward};

use crate::{Backend, DType, MemoryKind, Result, Tensor};

/// A result: an activation of this shape and type.
fn result<B: Backend>(backend: &B, shape: &[usize], dtype: DType) -> Result<Tensor<B>> {
    Tensor::empty(backend, shape, dtype, MemoryKind::Activations)
}

/// Memory that lives no longer than the operation.
fn scratch<B: Backend>(backend: &B, shape: &[usize]) -> Result<Tensor<B>> {
    Tensor::empty(backend, shape, DType::F32, MemoryKind::Scratch)
}

/// Elements that one workgroup (or one thread of the CPU engine) sums up; the second pass sums those sums.
const REDUCE_CHUNK: usize = 4096;

/// The sums of each row of `x` `[R, C]` f32, as `[R, 1]`.
fn sum_rows<B: Backend>(x: Tensor<B>) -> Result<Tensor<B>> {
    let mut x = x;
    while x.columns() > 1 {
        let rows = x.leading();
        let sums = scratch(x.backend(), &[rows, x.columns().div_ceil(REDUCE_CHUNK)])?;
        x.backend().reduce(&x, false, REDUCE_CHUNK, &sums, 0)?;
        x = sums;
    }
    Ok(x)
}
