//! Runs the tests of the build-time pipeline, which live beside its code in `compile/`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

#[allow(
    dead_code,
    unused_imports,
    reason = "build.rs uses what the tests here do not"
)]
#[path = "../compile/mod.rs"]
mod compile;
