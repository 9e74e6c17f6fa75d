//! The operations of LoRA and QLoRA training, without a device.
//!
//! - [`Backend`]: what a device does, one method a fused kernel. `anylora-engine-wgpu` and
//!   `anylora-engine-burn` implement it; [`Dry`] implements it without a device, for planning.
//! - [`ops`]: what callers use. Each function checks shapes and dtypes, allocates its results and its
//!   scratch through the [`Ledger`], and calls the kernel, so that every engine allocates alike.
//! - [`Tensor`] and [`Weight`]: device memory with a shape; frozen weights in their storage format.
//! - [`Tape`]: records a block's forward operations and runs them backward.
//! - [`mod@self_test`]: every operation of a device against another's.

mod arguments;
mod backend;
mod caps;
mod device;
mod dropout;
mod dry;
mod dtype;
mod error;
mod ledger;
pub mod ops;
pub mod self_test;
mod tape;
mod tensor;
mod weight;
mod windows;

pub use arguments::{
    AdamW, Attention, AttentionBackward, AttentionDecode, Linear, LinearBackward, LoraDown, LoraGrad,
    LoraTerm, LoraTermBackward, Mask, Side,
};
pub use backend::Backend;
pub use caps::{Caps, DeviceInfo, DeviceKind, Tier};
pub use device::{DeviceSpec, ParseDeviceError};
pub use dropout::{Dropout, philox4x32};
pub use dry::{Cost, Dry};
pub use dtype::DType;
pub use error::{Error, Result};
pub use ledger::{Ledger, MemoryKind, MemoryReport};
pub use tape::{Lora, Tape, Var};
pub use tensor::Tensor;
pub use weight::{Absmax, Ggml, Nf4, Weight};
pub use windows::row_windows;
