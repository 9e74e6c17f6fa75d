//! Datasets, chat templates, tokenizer, loss mask, packing, batches.
//!
//! Text goes through a [`ChatTemplate`] and a [`Tokenizer`]; both take bytes that the caller has
//! read, so that they work in a browser too.

mod dataset;
mod template;
mod tokenizer;

pub use dataset::{DataError, Dataset, Example, FileKind, Format, Problem, UnknownFormatName};
pub use template::{ChatTemplate, Message, RenderOptions, TemplateError};
pub use tokenizer::{Encoding, TextStream, Tokenizer, TokenizerConfig, TokenizerError};
