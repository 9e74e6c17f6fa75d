//! A model with what it has read so far.

use anylora_engine::{Backend, Tensor};
use anylora_models::Model;
use anylora_nn::{Adapters, KvCache};

use crate::{GenerateError, Result};

/// The cache grows by whole steps of this many tokens.
const GROWTH: usize = 256;

/// Reading a token of a prompt takes about a third of the time of generating one. So a cache that holds most of the
/// tokens already is continued token by token, and else the prompt is read anew.
const PREFILL_SPEEDUP: usize = 3;

/// One sequence: gives the logits that follow its tokens, and keeps their keys and values.
pub struct Session<'a, B: Backend> {
    model: &'a Model<B>,
    adapters: Option<&'a Adapters<B>>,
    cache: Option<Cache<B>>,
    /// The tokens that are in the cache.
    tokens: Vec<u32>,
}

/// What a session has read, without its model: for callers that keep a conversation between answers and the model
/// elsewhere.
pub struct Memory<B: Backend> {
    cache: Option<Cache<B>>,
    tokens: Vec<u32>,
}

impl<B: Backend> Default for Memory<B> {
    fn default() -> Self {
        Self {
            cache: None,
            tokens: Vec::new(),
        }
    }
}

struct Cache<B: Backend> {
    keys_values: KvCache<B>,
    rope: Tensor<B>,
}

impl<'a, B: Backend> Session<'a, B> {
    /// An empty session.
    pub const fn new(model: &'a Model<B>, adapters: Option<&'a Adapters<B>>) -> Self {
        Self {
            model,
            adapters,
            cache: None,
            tokens: Vec::new(),
        }
    }

    /// A session that goes on from what one on the same model with the same adapters has read.
    pub fn resume(model: &'a Model<B>, adapters: Option<&'a Adapters<B>>, memory: Memory<B>) -> Self {
        Self {
            model,
            adapters,
            cache: memory.cache,
            tokens: memory.tokens,
        }
    }

    /// What it has read.
    pub fn into_memory(self) -> Memory<B> {
        Memory {
            cache: self.cache,
            tokens: self.tokens,
        }
    }

    /// The tokens read so far.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that still fit: up to the model's [`Model::max_length`].
    pub fn room(&self) -> usize {
        self.model.max_length().saturating_sub(self.tokens.len())
    }

    /// Makes `prompt` the whole text so far, and returns the logits `[V]` of its last position. Tokens that the cache
    /// holds already are not read again where that is quicker. Room for `more` further tokens is made at once.
    ///
    /// # Errors
    /// [`GenerateError::EmptyPrompt`], [`GenerateError::TooLong`], [`GenerateError::Model`].
    pub async fn read(&mut self, prompt: &[u32], more: usize) -> Result<Vec<f32>> {
        let limit = self.model.max_length();
        if prompt.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if prompt.len() > limit {
            return Err(GenerateError::TooLong {
                tokens: prompt.len(),
                limit,
            });
        }
        let wanted = (prompt.len() + more).min(limit);
        let capacity = self
            .cache
            .as_ref()
            .map_or(0, |cache| cache.keys_values.capacity());
        let same = self.tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is read again where all are there: its logits are wanted.
        let kept = same.min(prompt.len() - 1);
        let new = prompt.len() - kept;
        if capacity >= wanted && kept > 0 && new * PREFILL_SPEEDUP < prompt.len() {
            self.truncate(kept);
            let mut logits = Vec::new();
            for (index, &token) in prompt[kept..].iter().enumerate() {
                let hidden = self.advance(&[token])?;
                if index + 1 == new {
                    logits = self.last_logits(&hidden, 1).await?;
                }
            }
            return Ok(logits);
        }
        self.truncate(0);
        let backend = self.model.backend();
        match &mut self.cache {
            // The table may depend on the prompt's length.
            Some(cache) if capacity >= wanted => {
                cache.rope = self.model.rope.table(backend, capacity, prompt.len())?;
            }
            cache => {
                // The old cache goes first, so that the two are not in memory together.
                *cache = None;
                let capacity = wanted.next_multiple_of(GROWTH).min(limit);
                *cache = Some(Cache {
                    keys_values: self.model.kv_cache(1, capacity)?,
                    rope: self.model.rope.table(backend, capacity, prompt.len())?,
                });
            }
        }
        let hidden = self.advance(prompt)?;
        self.last_logits(&hidden, prompt.len()).await
    }

    /// Adds one token; returns the logits `[V]` that follow it.
    ///
    /// # Errors
    /// [`GenerateError::Model`]; [`GenerateError::TooLong`] where the room that [`Session::read`] made is used up.
    pub async fn push(&mut self, token: u32) -> Result<Vec<f32>> {
        let capacity = self
            .cache
            .as_ref()
            .map_or(0, |cache| cache.keys_values.capacity());
        if self.tokens.len() >= capacity {
            return Err(GenerateError::TooLong {
                tokens: self.tokens.len() + 1,
                limit: capacity,
            });
        }
        let hidden = self.advance(&[token])?;
        self.last_logits(&hidden, 1).await
    }

    fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        if let Some(cache) = &mut self.cache {
            cache.keys_values.truncate(0, length);
        }
    }

    /// Hidden states `[T, H]` of the next tokens. An error leaves the session empty.
    fn advance(&mut self, tokens: &[u32]) -> Result<Tensor<B>> {
        let Some(cache) = &mut self.cache else {
            return Err(GenerateError::EmptyPrompt);
        };
        let hidden = self
            .model
            .forward_cached(tokens, &mut cache.keys_values, &cache.rope, self.adapters);
        match hidden {
            Ok(hidden) => {
                self.tokens.extend_from_slice(tokens);
                Ok(hidden)
            }
            Err(error) => {
                self.truncate(0);
                Err(error.into())
            }
        }
    }

    async fn last_logits(&self, hidden: &Tensor<B>, rows: usize) -> Result<Vec<f32>> {
        let last = if rows == 1 {
            hidden.clone()
        } else {
            self.model.gather(hidden, &[rows as u32 - 1])?
        };
        Ok(self.model.logits(&last)?.to_f32().await?)
    }
}
