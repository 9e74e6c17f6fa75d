//! The safetensors format: 8 bytes of header length, a JSON header, the tensors' bytes without gaps.
//!
//! Source: the format's description in huggingface/safetensors, README.md. The header is read here rather than by
//! that crate because its errors stop at the first bad tensor and do not name it, and written here because that crate
//! wants all tensors at once.

mod dtype;
mod header;
mod stream;
mod writer;

pub(crate) use dtype::Dtype;
pub(crate) use header::{Entry, Header};
pub use stream::{ShardReader, TensorPiece};
pub(crate) use writer::write_f32_file;
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use writer::{HeaderEntry, header_of};
pub use writer::{SafetensorsWriter, TensorSpec};
