//! A checkpoint's text side: tokenizer, chat template, end tokens.

use std::collections::BTreeSet;

use anylora_checkpoint::{Checkpoint, GenerationConfig, TokenizerConfig as StoredConfig};
use anylora_data::{ChatTemplate, Message, RenderOptions, Tokenizer, TokenizerConfig};

use crate::{GenerateError, Result};

/// Makes token ids of prompts and conversations.
#[derive(Clone, Debug)]
pub struct Prompter {
    tokenizer: Tokenizer,
    template: Option<ChatTemplate>,
    end_tokens: BTreeSet<u32>,
}

impl Prompter {
    /// The tokenizer and chat template of a checkpoint. A text ends with the EOS tokens of its generation_config.json,
    /// with the tokenizer's, or with the token that its chat template puts after an assistant's turn.
    ///
    /// # Errors
    /// [`GenerateError::NoTokenizer`], and what is wrong with the files.
    pub fn new(checkpoint: &Checkpoint) -> Result<Self> {
        let json = checkpoint.tokenizer_json().ok_or(GenerateError::NoTokenizer)?;
        Self::from_parts(
            &json,
            checkpoint.tokenizer_config(),
            checkpoint.generation_config(),
        )
    }

    /// The same from tokenizer.json and what the files beside it say.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn from_parts(json: &[u8], stored: &StoredConfig, generation: &GenerationConfig) -> Result<Self> {
        let config = TokenizerConfig {
            bos_token: stored.bos_token.clone(),
            eos_token: stored.eos_token.clone(),
            pad_token: stored.pad_token.clone(),
            unk_token: stored.unk_token.clone(),
            chat_template: stored.chat_template().map(str::to_owned),
        };
        let tokenizer = Tokenizer::from_json(json, config.clone())?;
        let template = config
            .chat_template
            .as_ref()
            .map(|source| ChatTemplate::new(source, &config))
            .transpose()?;
        let mut end_tokens: BTreeSet<u32> = generation.eos_token_ids.iter().copied().collect();
        end_tokens.extend(tokenizer.eos_id());
        if let Some(template) = &template {
            end_tokens.extend(end_of_turn(&tokenizer, template));
        }
        Ok(Self {
            tokenizer,
            template,
            end_tokens,
        })
    }

    /// The tokenizer.
    pub const fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template, where the checkpoint has one.
    pub const fn template(&self) -> Option<&ChatTemplate> {
        self.template.as_ref()
    }

    /// Tokens that end a text.
    pub const fn end_tokens(&self) -> &BTreeSet<u32> {
        &self.end_tokens
    }

    /// A text as it is, with what the tokenizer adds around it.
    ///
    /// # Errors
    /// [`GenerateError::Tokenizer`]; [`GenerateError::EmptyPrompt`].
    pub fn raw(&self, text: &str) -> Result<Vec<u32>> {
        not_empty(self.tokenizer.encode(text, true)?)
    }

    /// A conversation, up to where the assistant answers.
    ///
    /// # Errors
    /// [`GenerateError::NoChatTemplate`], [`GenerateError::Template`], [`GenerateError::Tokenizer`].
    pub fn chat(&self, messages: &[Message]) -> Result<Vec<u32>> {
        let template = self.template.as_ref().ok_or(GenerateError::NoChatTemplate)?;
        let text = template.render(messages, &RenderOptions::prompt())?;
        not_empty(self.tokenizer.encode(&text, false)?)
    }
}

fn not_empty(ids: Vec<u32>) -> Result<Vec<u32>> {
    if ids.is_empty() {
        Err(GenerateError::EmptyPrompt)
    } else {
        Ok(ids)
    }
}

/// The special token that a template puts behind an assistant's turn, where there is one.
fn end_of_turn(tokenizer: &Tokenizer, template: &ChatTemplate) -> Option<u32> {
    const ANSWER: &str = "anylora answers";
    let messages = [
        Message::new("user", "question"),
        Message::new("assistant", ANSWER),
    ];
    let text = template.render(&messages, &RenderOptions::default()).ok()?;
    let (_, behind) = text.rsplit_once(ANSWER)?;
    let first = *tokenizer.encode(behind.trim_start(), false).ok()?.first()?;
    tokenizer.is_special(first).then_some(first)
}
