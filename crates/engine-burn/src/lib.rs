//! The operations of AnyLoRA on burn.
//!
//! - [`Burn`] implements [`anylora_engine::Backend`] on any burn backend. [`Cpu`], on burn-flex, is the engine of
//!   machines without a GPU: products run on burn-flex's kernels on all cores, what lies between them in loops over
//!   the same memory. Frozen weights stay packed: products of many rows expand them a few MiB at a time, those of few
//!   rows (generation) unpack them in registers.
//! - [`reference`](mod@reference) has every operation as its formula in burn, to be differentiated by burn's
//!   autodiff: what the kernels of all engines are tested against.

mod backend;
mod ops;
mod parallel;
mod product;
pub mod reference;
mod rows;
mod simd;
mod storage;
mod team;
mod view;

pub use backend::{Burn, Cpu};
pub use storage::Storage;
