//! What the tests across crates share.
//!
//! - [`gpus`]: the software device (or what `ANYLORA_DEVICE` names) at every tier, with poisoned memory; [`cpu`]: the CPU engine, which passes the
//!   same tests. [`on_every_device!`] runs a test on all of them, in every activation type that each has.
//! - [`Operand`]: random values on the host, as an engine tensor (whole, or a view at an offset) and as a leaf of
//!   the reference, `anylora_engine_burn::reference`.
//! - [`Tolerance`]: how far a result may lie from the reference, written down once; [`close`] compares.
//! - [`cases`]: proptest with a fixed seed.
//!
//! ```text
//! fn add<B: Backend>(device: &B, act: DType, len: usize) {
//!     let [a, b] = [1, 2].map(|seed| Operand::random(seed, [len], act));
//!     let expected = reference::to_vec(&(a.leaf() + b.leaf()));
//!     let out = ops::add(&a.on(device), &b.view_on(device)).unwrap();
//!     close("out", &out, &expected, Tolerance::of(act));
//! }
//!
//! #[test]
//! fn add_as_the_reference() {
//!     cases(8, 1_usize..600, |len| on_every_device!(|device, act| add(device, act, len)));
//! }
//! ```

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod cases;
mod compare;
mod devices;
mod operand;
mod output;
mod values;

pub use cases::cases;
pub use compare::{Tolerance, close, same_bits};
pub use devices::{
    Scope, activations, checked, cpu, each_activation, gpus, low_binding, open, tested_gpus, tests_adapters,
    wgpu_with,
};
#[cfg(feature = "cuda")]
pub use devices::{cuda, new_cuda};
pub use operand::{Indices, Operand, read};
pub use output::Output;
pub use values::{decode, encode, rounded, uniform, uniform_integers};
