//! Every operation as its formula, in a few lines of burn: no tiles, no views, no packed weights, nothing in place.
//!
//! Run on `Autodiff<Flex>` ([`Oracle`]), burn differentiates them: that is what the kernels of all engines, and this
//! crate's own hand-written ones, are tested against.
//!
//! ```
//! use anylora_engine_burn::reference::{self, Oracle};
//!
//! let device = Default::default();
//! let x = reference::floats::<Oracle, 2>(&[1.0, -2.0, 3.0, 0.5], [2, 2], &device).require_grad();
//! let weight = reference::floats::<Oracle, 1>(&[1.0, 2.0], [2], &device);
//! let y = reference::rms_norm(x.clone(), weight, 1e-5);
//! let dy = reference::floats::<Oracle, 2>(&[1.0, 0.0, 0.0, 1.0], [2, 2], &device);
//! let dx = reference::gradient(&x, &(y * dy).sum().backward());
//! assert_eq!(dx.len(), 4);
//! ```

mod attention;
mod lora;
mod loss;
mod norm;
mod optimizer;
mod values;

pub use attention::{attention, attention_decode, rope, visible};
pub use lora::{dropout_mask, linear, lora_linear, quantized};
pub use loss::{cross_entropy, embedding, head_loss};
pub use norm::{rms_norm, swiglu};
pub use optimizer::{AdamWSettings, adamw, sum_squares};
pub use values::{Oracle, floats, gradient, integers, to_vec};
