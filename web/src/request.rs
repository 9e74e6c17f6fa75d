//! What JavaScript asks for.

use anylora_data::Message;
use anylora_generate::{GenerationOptions, Prompter, Sampling};
use serde::Deserialize;

use crate::error::{Result, WebError};

/// A prompt with its settings; those that are absent are the library's defaults.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Request {
    prompt: Prompt,
    /// A text goes to the model as it is, and not as a user's message.
    raw: bool,
    /// The adapter's name.
    pub(crate) adapter: Option<String>,
    /// On top of the adapter's own scale.
    pub(crate) scale: Option<f32>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Prompt {
    Text(String),
    Messages(Vec<Message>),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

impl Request {
    /// # Errors
    /// `argument` with the field that is wrong.
    pub(crate) fn parse(json: &str) -> Result<Self> {
        serde_json::from_str(json).map_err(|error| WebError::argument(format!("the settings: {error}")))
    }

    /// The prompt's tokens.
    pub(crate) fn tokens(&self, prompter: &Prompter) -> Result<Vec<u32>> {
        Ok(match &self.prompt {
            Prompt::Text(text) if self.raw => prompter.raw(text)?,
            Prompt::Text(text) => prompter.chat(&[Message::new("user", text)])?,
            Prompt::Messages(_) if self.raw => {
                return Err(WebError::argument("raw takes a text, and no messages"));
            }
            Prompt::Messages(messages) => prompter.chat(messages)?,
        })
    }

    pub(crate) fn options(&self) -> GenerationOptions {
        let default = GenerationOptions::default();
        let Sampling {
            temperature,
            top_k,
            top_p,
            min_p,
            repetition_penalty,
            seed,
        } = default.sampling;
        GenerationOptions {
            max_tokens: self.max_tokens.unwrap_or(default.max_tokens),
            sampling: Sampling {
                temperature: self.temperature.unwrap_or(temperature),
                top_k: self.top_k.unwrap_or(top_k),
                top_p: self.top_p.unwrap_or(top_p),
                min_p: self.min_p.unwrap_or(min_p),
                repetition_penalty: self.repetition_penalty.unwrap_or(repetition_penalty),
                seed: self.seed.unwrap_or(seed),
            },
            stop: self.stop.clone(),
        }
    }
}
