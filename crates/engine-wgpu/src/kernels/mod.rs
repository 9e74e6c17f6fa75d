//! Launchers, one module an operation.

pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod attention_decode;
pub(crate) mod cache_append;
pub(crate) mod cross_entropy;
pub(crate) mod elementwise;
pub(crate) mod embedding;
pub(crate) mod linear;
pub(crate) mod lora;
mod pointwise;
pub(crate) mod reduce;
pub(crate) mod rms_norm;
pub(crate) mod rope;
mod sequences;
pub(crate) mod swiglu;
