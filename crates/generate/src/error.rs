use anylora_data::{TemplateError, TokenizerError};
use anylora_models::ModelError;

/// What keeps a text from being generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The model or its device.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The checkpoint has no tokenizer.
    #[error("the model has no tokenizer: expected tokenizer.json beside config.json")]
    NoTokenizer,
    /// The checkpoint has no chat template.
    #[error("the model has no chat template: expected chat_template.jinja or one in tokenizer_config.json")]
    NoChatTemplate,
    /// A prompt without tokens.
    #[error("the prompt is empty: expected at least one token")]
    EmptyPrompt,
    /// A prompt that the model can't hold.
    #[error("the prompt has {tokens} tokens and the model holds {limit}")]
    TooLong {
        /// The prompt's tokens.
        tokens: usize,
        /// What fits.
        limit: usize,
    },
    /// A sampling setting out of its range.
    #[error("{name}: expected {expected}, found {found}")]
    Sampling {
        /// The setting.
        name: &'static str,
        /// Its range.
        expected: &'static str,
        /// What was set.
        found: f64,
    },
    /// The model computed no numbers.
    #[error("the model's logits are not numbers after {tokens} tokens")]
    NotANumber {
        /// Tokens that it was given.
        tokens: usize,
    },
}

impl From<anylora_engine::Error> for GenerateError {
    fn from(error: anylora_engine::Error) -> Self {
        Self::Model(error.into())
    }
}

/// The result of this crate's functions.
pub type Result<T> = std::result::Result<T, GenerateError>;

impl GenerateError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Model(error) => error.hint(),
            Self::NoTokenizer => Some("copy tokenizer.json from the model's page into its folder".to_owned()),
            Self::NoChatTemplate => Some("--raw gives the prompt to the model as it is".to_owned()),
            Self::EmptyPrompt => Some("--prompt 'What is the capital of France?'".to_owned()),
            Self::TooLong { .. } => Some("shorten the prompt".to_owned()),
            Self::NotANumber { .. } => Some(
                "the weights may be damaged, or the device faulty: anylora devices --self-test".to_owned(),
            ),
            Self::Tokenizer(_) | Self::Template(_) | Self::Sampling { .. } => None,
        }
    }
}
