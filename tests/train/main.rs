//! The training loop on tiny models: what must not change its result, and going on after a stop.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod equal;
mod half;
mod plan;
mod resume;
mod setup;
