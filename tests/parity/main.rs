//! Whole models against what transformers and PEFT computed (`tests/fixtures/tiny`).

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod engines;
mod forward;
mod goldens;
mod greedy;
mod smollm2;
mod tape;
mod training;
