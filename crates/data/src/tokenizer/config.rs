//! `tokenizer_config.json`: the roles of special tokens, and the chat template.

use serde_json::Value;

use super::TokenizerError;

/// What AnyLoRA reads from `tokenizer_config.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// The token that opens a text.
    pub bos_token: Option<String>,
    /// The token that ends a text.
    pub eos_token: Option<String>,
    /// The token that fills short rows.
    pub pad_token: Option<String>,
    /// The token of text that the vocabulary can't express.
    pub unk_token: Option<String>,
    /// The chat template's Jinja source. Newer models keep it in `chat_template.jinja` instead, which
    /// wins over this one. Of several named templates it is the one called `default`.
    pub chat_template: Option<String>,
}

impl TokenizerConfig {
    /// From the bytes of `tokenizer_config.json`.
    pub fn from_json(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(bytes).map_err(TokenizerError::Config)?;
        // A special token is its text, or an object with the text in `content` (an AddedToken).
        let token = |key: &str| match object.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            Some(Value::Object(added)) => added.get("content")?.as_str().map(str::to_owned),
            _ => None,
        };
        let chat_template = match object.get("chat_template") {
            Some(Value::String(source)) => Some(source.clone()),
            Some(Value::Array(named)) => named
                .iter()
                .find(|entry| entry["name"] == "default")
                .and_then(|entry| entry["template"].as_str())
                .map(str::to_owned),
            _ => None,
        };
        Ok(Self {
            bos_token: token("bos_token"),
            eos_token: token("eos_token"),
            pad_token: token("pad_token"),
            unk_token: token("unk_token"),
            chat_template,
        })
    }
}
