//! The CUDA engine: its kernels on the host, and on a GPU where CUDA finds one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod emulated;
mod gpu;
