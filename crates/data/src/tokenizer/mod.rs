//! Text to token ids and back, as the model's own `tokenizer.json` says.
//!
//! The file's truncation and padding are ignored: how long an example may be is the training run's
//! business, and a file saved from someone else's run would cut text silently.

mod config;
mod stream;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub use config::TokenizerConfig;
pub use stream::TextStream;

/// What can be wrong with a tokenizer's files or its input.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// `tokenizer.json` can't be read as one.
    #[error("tokenizer.json: {0}; expected the file that the tokenizers library writes")]
    Tokenizer(tokenizers::Error),
    /// `tokenizer_config.json` can't be read as one.
    #[error("tokenizer_config.json: {0}; expected a JSON object")]
    Config(serde_json::Error),
    /// A special token of `tokenizer_config.json` is not in the vocabulary.
    #[error("tokenizer_config.json: {name} is {token:?}, which tokenizer.json does not contain")]
    UnknownSpecialToken {
        /// The key, for example `eos_token`.
        name: &'static str,
        /// Its value.
        token: String,
    },
    /// The text can't be encoded.
    #[error("text can't be encoded: {0}")]
    Encode(tokenizers::Error),
    /// The ids can't be decoded.
    #[error("ids can't be decoded: {0}")]
    Decode(tokenizers::Error),
}

impl TokenizerError {
    /// One line that says what to do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Tokenizer(_) | Self::Config(_) => Some(
                "fetch the model again, for example with `hf download OWNER/NAME --local-dir FOLDER`".into(),
            ),
            Self::UnknownSpecialToken { .. } => {
                Some("tokenizer.json and tokenizer_config.json must come from the same model".into())
            }
            Self::Encode(_) | Self::Decode(_) => None,
        }
    }
}

/// Token ids with the place of each in the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Byte range of each token in the text; empty for a token that was added (BOS, EOS). The tokens
    /// of one character that was split into bytes all carry that whole character.
    pub offsets: Vec<Range<usize>>,
}

/// A tokenizer with the roles of its special tokens. Clones share the vocabulary, which takes tens of megabytes.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: Arc<tokenizers::Tokenizer>,
    config: TokenizerConfig,
    special_ids: BTreeSet<u32>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    pad_id: Option<u32>,
    unk_id: Option<u32>,
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json` and the model's `tokenizer_config.json`
    /// (`TokenizerConfig::default()` where there is none).
    pub fn from_json(tokenizer_json: &[u8], config: TokenizerConfig) -> Result<Self, TokenizerError> {
        let mut inner =
            tokenizers::Tokenizer::from_bytes(tokenizer_json).map_err(TokenizerError::Tokenizer)?;
        inner.with_truncation(None).map_err(TokenizerError::Tokenizer)?;
        inner.with_padding(None);
        let id = |name: &'static str, token: &Option<String>| match token {
            None => Ok(None),
            Some(token) => match inner.token_to_id(token) {
                Some(id) => Ok(Some(id)),
                None => Err(TokenizerError::UnknownSpecialToken {
                    name,
                    token: token.clone(),
                }),
            },
        };
        let bos_id = id("bos_token", &config.bos_token)?;
        let eos_id = id("eos_token", &config.eos_token)?;
        let pad_id = id("pad_token", &config.pad_token)?;
        let unk_id = id("unk_token", &config.unk_token)?;
        let special_ids = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter_map(|(id, token)| token.special.then_some(id))
            .collect();
        Ok(Self {
            inner: Arc::new(inner),
            config,
            special_ids,
            bos_id,
            eos_id,
            pad_id,
            unk_id,
        })
    }

    /// Token ids of `text`. `add_special_tokens` adds what the tokenizer's post-processor adds around a
    /// text (a BOS for Llama 3, nothing for Qwen 2.5). Text that a chat template rendered already holds
    /// its special tokens: pass `false` there.
    ///
    /// A special token's text, such as `<|im_end|>`, becomes that token, as in the tokenizers library.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self
            .inner
            .encode_fast(text, add_special_tokens)
            .map_err(TokenizerError::Encode)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of `text` with each token's byte range in it; see [`Tokenizer::encode`].
    pub fn encode_with_offsets(
        &self,
        text: &str,
        add_special_tokens: bool,
    ) -> Result<Encoding, TokenizerError> {
        let encoding = self
            .inner
            .encode(text, add_special_tokens)
            .map_err(TokenizerError::Encode)?;
        let offsets = encoding
            .get_offsets()
            .iter()
            .map(|&(start, end)| start..end)
            .collect();
        Ok(Encoding {
            ids: encoding.get_ids().to_vec(),
            offsets,
        })
    }

    /// The text of `ids`; ids outside the vocabulary are left out. `skip_special_tokens` leaves out BOS,
    /// EOS and their like.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, TokenizerError> {
        self.inner
            .decode(ids, skip_special_tokens)
            .map_err(TokenizerError::Decode)
    }

    /// Decodes ids one by one into whole characters.
    pub fn text_stream(&self, skip_special_tokens: bool) -> TextStream<'_> {
        TextStream::new(self, skip_special_tokens)
    }

    /// The id of a token by its vocabulary text (`<|im_end|>`, `Ġthe`).
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// A token's vocabulary text.
    pub fn id_to_token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Whether `id` is a special token, one that `skip_special_tokens` leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Tokens in the vocabulary, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The token that opens a text, where the model has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos_id
    }

    /// The token that ends a text.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos_id
    }

    /// The token that fills short rows.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// The token of text that the vocabulary can't express.
    pub fn unk_id(&self) -> Option<u32> {
        self.unk_id
    }

    /// The configuration that this tokenizer was opened with.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }
}
