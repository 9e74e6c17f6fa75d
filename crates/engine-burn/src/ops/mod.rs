//! The kernels. Each function is the method of [`anylora_engine::Backend`] with its name, which states formula and
//! shapes; arguments were checked by [`anylora_engine::ops`].

mod attention;
mod attention_backward;
mod cross_entropy;
mod decode;
mod dropout;
mod elementwise;
mod embedding;
mod few;
mod linear;
mod lora;
mod optimizer;
mod rms_norm;
mod rope;
mod swiglu;
mod weight;

pub(crate) use attention::attention;
pub(crate) use attention_backward::attention_backward;
pub(crate) use cross_entropy::cross_entropy;
pub(crate) use decode::{attention_decode, cache_append};
pub(crate) use elementwise::{add, cast, copy, fill, scale};
pub(crate) use embedding::embedding;
pub(crate) use linear::{linear, linear_backward};
pub(crate) use lora::{lora_down, lora_grad};
pub(crate) use optimizer::{adamw, reduce};
pub(crate) use rms_norm::{rms_norm, rms_norm_backward};
pub(crate) use rope::rope;
pub(crate) use swiglu::{swiglu, swiglu_backward};
