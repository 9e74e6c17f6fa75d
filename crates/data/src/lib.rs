//! Datasets, chat templates, tokenizer, loss mask, packing, batches.
//!
//! Text goes through a [`ChatTemplate`] and a [`Tokenizer`]; both take bytes that the caller has
//! read, so that they work in a browser too.

mod template;
mod tokenizer;

pub use template::{ChatTemplate, Message, RenderOptions, TemplateError};
pub use tokenizer::{Encoding, TextStream, Tokenizer, TokenizerConfig, TokenizerError};
