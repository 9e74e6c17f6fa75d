//! `generation_config.json`: where a text ends, and how the model's makers sample.

use serde_json::{Map, Value};

use crate::fields::{Fields, parse_object};
use crate::{ModelConfig, Result};

/// What `generation_config.json` says; fields that it lacks are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GenerationConfig {
    /// Begin-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Padding token.
    pub pad_token_id: Option<u32>,
    /// Whether to sample.
    pub do_sample: Option<bool>,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// Sample among the k likeliest tokens.
    pub top_k: Option<usize>,
    /// Sample among the likeliest tokens that make up this probability.
    pub top_p: Option<f64>,
    /// Penalty on tokens that were there before.
    pub repetition_penalty: Option<f64>,
}

impl GenerationConfig {
    /// Parses generation_config.json.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Malformed`] with every wrong field.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let file = "generation_config.json";
        Self::from_object(file, &parse_object(file, bytes)?)
    }

    fn from_object(file: &str, object: &Map<String, Value>) -> Result<Self> {
        let mut f = Fields::new(file, "", object);
        let config = Self {
            bos_token_id: f.token_id("bos_token_id"),
            eos_token_ids: f.token_ids("eos_token_id"),
            pad_token_id: f.token_id("pad_token_id"),
            do_sample: f.boolean("do_sample"),
            temperature: f.number("temperature"),
            // 0 turns it off in transformers.
            top_k: f
                .get("top_k")
                .and_then(Value::as_u64)
                .and_then(|k| usize::try_from(k).ok())
                .filter(|k| *k > 0),
            top_p: f.number("top_p"),
            repetition_penalty: f.number("repetition_penalty"),
        };
        f.problems.into_result()?;
        Ok(config)
    }

    /// The same with the model's token ids where this has none, as transformers fills them in.
    pub(crate) fn or_from(mut self, config: &ModelConfig) -> Self {
        self.bos_token_id = self.bos_token_id.or(config.bos_token_id);
        self.pad_token_id = self.pad_token_id.or(config.pad_token_id);
        if self.eos_token_ids.is_empty() {
            self.eos_token_ids.clone_from(&config.eos_token_ids);
        }
        self
    }
}
