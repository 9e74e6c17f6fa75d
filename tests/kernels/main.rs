//! Every operation on every tier of the software device, against the reference. Needs a software adapter:
//! `scripts/setup` installs lavapipe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod adamw;
mod attention;
mod attention_decode;
mod block;
mod cache_append;
mod cross_entropy;
mod determinism;
mod elementwise;
mod embedding;
mod faults;
mod head_loss;
mod linear;
mod linear_case;
mod linear_coop;
mod linear_windows;
mod lora;
mod lora_linear;
mod memory;
mod reduce;
mod rms_norm;
mod rope;
mod swiglu;
