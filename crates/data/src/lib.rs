//! Datasets, chat templates, tokenizer, loss mask, packing, batches.
//!
//! Text goes through a [`ChatTemplate`] and a [`Tokenizer`]; both take bytes that the caller has
//! read, so that they work in a browser too.

mod batch;
mod check;
mod dataset;
mod encode;
mod template;
mod tokenizer;

pub use batch::{Batch, BatchError, BatchOptions, Batches, Position};
pub use check::{Bucket, Finding, FindingKind, Lengths, Piece, Report, check, pieces};
pub use dataset::{DataError, Dataset, Example, FileKind, Format, Problem, UnknownFormatName};
pub use encode::{EncodeError, EncodeOptions, Encoded, Encoder, IGNORED, TrainOn, alpaca_prompt};
pub use template::{ChatTemplate, Message, RenderOptions, TemplateError};
pub use tokenizer::{Encoding, TextStream, Tokenizer, TokenizerConfig, TokenizerError};
