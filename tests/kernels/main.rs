//! Every operation on every tier of the software device, against the reference. Needs a software adapter:
//! `scripts/setup` installs lavapipe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod attention;
mod attention_decode;
mod cache_append;
mod elementwise;
mod embedding;
mod linear;
mod rms_norm;
mod rope;
mod swiglu;
