//! What can be wrong with an example.

use crate::{template::TemplateError, tokenizer::TokenizerError};

/// Why an example has no tokens.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The template failed or refused.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A conversation for a model without a chat template.
    #[error("the record is a conversation, but the model has no chat template")]
    NoTemplate,
    /// An id that the model has no embedding for.
    #[error("token id or label {id} is outside of the vocabulary of {vocab_size}")]
    UnknownToken {
        /// The id or label.
        id: i64,
        /// Tokens in the vocabulary.
        vocab_size: usize,
    },
}

impl EncodeError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tokenizer(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::NoTemplate => Some(
                "use an instruct model, or write the data as {\"prompt\": ..., \"completion\": ...}".into(),
            ),
            Self::UnknownToken { .. } => Some("tokenize with the model's own tokenizer".into()),
        }
    }
}
