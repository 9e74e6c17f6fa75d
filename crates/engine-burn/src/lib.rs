//! The operations of AnyLoRA on burn.
//!
//! - [`Burn`] implements [`anylora_engine::Backend`] on any burn backend. [`Cpu`], on burn-flex, is the engine of
//!   machines without a GPU. Frozen weights stay packed: products of many rows unpack them once, into the panels that
//!   they read (`product`), those of few rows (generation) in registers (`rows`). Attention's products are burn-flex's;
//!   what lies between products are loops over the same memory.
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
