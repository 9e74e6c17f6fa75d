//! Every operation on every tier of the software device, against the reference. Needs a software adapter:
//! `scripts/setup` installs lavapipe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod adamw;
mod cross_entropy;
mod elementwise;
mod head_loss;
mod lora;
mod lora_linear;
mod reduce;
