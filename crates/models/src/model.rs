//! A decoder-only language model: embedding, blocks, final norm, head.

use anylora_checkpoint::ModelConfig;
use anylora_engine::{Backend, DType, MemoryKind, Tensor, Weight, ops};
use anylora_nn::{
    Adapters, Block, BlockSource, Context, Eager, KvCache, RmsNorm, Rope, RopeScaling, yarn_attention_factor,
};

use crate::{ModelError, Result};

/// A model on a device. `M = batch * time`; activations are of type [`Model::activation`].
pub struct Model<B: Backend> {
    /// The checkpoint's hyperparameters.
    pub config: ModelConfig,
    /// `[V, H]`, as stored.
    pub embed_tokens: Weight<B>,
    /// The blocks, without adapters.
    pub blocks: Box<dyn BlockSource<B>>,
    /// Before the head.
    pub norm: RmsNorm<B>,
    /// `[V, H]`: the embedding's memory where the two are tied.
    pub lm_head: Weight<B>,
    /// Rotary positions.
    pub rope: Rope,
    /// The type of activations and of the KV cache.
    pub activation: DType,
}

impl<B: Backend> Model<B> {
    /// The device.
    pub fn backend(&self) -> &B {
        self.embed_tokens.backend()
    }

    /// The embeddings of token ids `[M]`: `[M, H]` act, the first block's input.
    ///
    /// # Errors
    /// [`ModelError::Token`]; device errors.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor<B>> {
        let vocab_size = self.config.vocab_size;
        if let Some((position, &id)) = ids.iter().enumerate().find(|&(_, &id)| id as usize >= vocab_size) {
            return Err(ModelError::Token {
                id,
                position,
                vocab_size,
            });
        }
        let ids = Tensor::from_u32(self.backend(), &[ids.len()], MemoryKind::Activations, ids)?;
        Ok(ops::embedding(&ids, &self.embed_tokens, self.activation)?)
    }

    /// What all blocks share in a pass over `batch` rows of `time` tokens: positions and segments `[M]`, positions
    /// counting from 0 in every row where None. Callers that run many passes make the rotary table once
    /// ([`Rope::table`]) and use [`Context::new`].
    ///
    /// # Errors
    /// Those of [`Context::new`].
    pub fn context(
        &self,
        [batch, time]: [usize; 2],
        positions: Option<&[u32]>,
        segments: Option<&[u32]>,
    ) -> Result<Context<B>> {
        let longest = positions.map_or(time, |positions| {
            positions.iter().max().map_or(1, |&last| last as usize + 1)
        });
        let table = self.rope.table(self.backend(), longest, longest)?;
        Ok(Context::new([batch, time], positions, segments, table)?)
    }

    /// Block `index` with its adapters.
    ///
    /// # Errors
    /// Those of [`BlockSource::block`].
    pub fn block(&self, index: usize, adapters: Option<&Adapters<B>>) -> Result<Block<B>> {
        let block = self.blocks.block(index)?;
        Ok(match adapters {
            Some(adapters) => block.with_adapters(adapters.block(index)),
            None => block,
        })
    }

    /// Hidden states after the final norm, `[M, H]` act, of token ids `[M]`. `each(i, x)` sees the input of block i, and
    /// the last block's output as input `num_hidden_layers`.
    ///
    /// # Errors
    /// [`ModelError::Token`]; device errors.
    pub fn forward(
        &self,
        ids: &[u32],
        context: &Context<B>,
        adapters: Option<&Adapters<B>>,
        mut each: impl FnMut(usize, &Tensor<B>),
    ) -> Result<Tensor<B>> {
        let mut x = self.embed(ids)?;
        for index in 0..self.blocks.len() {
            self.blocks.prefetch(index + 1);
            each(index, &x);
            x = self.block(index, adapters)?.forward(&mut Eager, x, context)?;
        }
        each(self.blocks.len(), &x);
        Ok(self.norm.forward(&mut Eager, &x)?)
    }

    /// An empty KV cache for `batch` sequences of at most `capacity` tokens.
    ///
    /// # Errors
    /// [`anylora_engine::Error::OutOfMemory`].
    pub fn kv_cache(&self, batch: usize, capacity: usize) -> Result<KvCache<B>> {
        let shape = [
            batch,
            capacity,
            self.config.num_key_value_heads,
            self.config.head_dim,
        ];
        Ok(KvCache::new(
            self.backend(),
            self.blocks.len(),
            shape,
            self.activation,
        )?)
    }

    /// [`Model::forward`] of the next tokens `[B, T]` of every sequence, with what came before in the cache: all of a
    /// prompt into an empty one, then one token at a time. Returns the hidden states of the `[B * T]` new tokens.
    /// `table` has a row for each position of the cache.
    ///
    /// # Errors
    /// [`ModelError::Token`]; those of [`KvCache::advance`]; device errors.
    pub fn forward_cached(
        &self,
        ids: &[u32],
        cache: &mut KvCache<B>,
        table: &Tensor<B>,
        adapters: Option<&Adapters<B>>,
    ) -> Result<Tensor<B>> {
        let batch = cache.lengths().len();
        let counts = vec![ids.len() / batch.max(1); batch];
        self.prefill(ids, &counts, cache, table, adapters)
    }

    /// The same for prompts of different lengths into an empty cache: `ids` `[B, T]`, padded at their ends with any
    /// token, of which `counts[b]` are sequence b's own. Hidden states of padding mean nothing.
    ///
    /// # Errors
    /// As [`Model::forward_cached`].
    pub fn prefill(
        &self,
        ids: &[u32],
        counts: &[usize],
        cache: &mut KvCache<B>,
        table: &Tensor<B>,
        adapters: Option<&Adapters<B>>,
    ) -> Result<Tensor<B>> {
        let batch = cache.lengths().len();
        let time = ids.len() / batch.max(1);
        let (starts, step) = cache.advance(self.backend(), counts)?;
        let positions: Vec<u32> = starts
            .iter()
            .flat_map(|&start| (start..start + time).map(|position| position as u32))
            .collect();
        let context = Context::new([batch, time], Some(&positions), None, table.clone())?;
        let mut x = self.embed(ids)?;
        for index in 0..self.blocks.len() {
            self.blocks.prefetch(index + 1);
            let block = self.block(index, adapters)?;
            x = block.forward_cached(x, &context, cache.layer(index), &step)?;
        }
        Ok(self.norm.forward(&mut Eager, &x)?)
    }

    /// The logits of hidden states `[M, H]`: `[M, V]` f32.
    ///
    /// # Errors
    /// Device errors.
    pub fn logits(&self, hidden: &Tensor<B>) -> Result<Tensor<B>> {
        Ok(ops::logits(hidden, &self.lm_head)?)
    }

    /// Rows of hidden states `[M, H]` as a tensor of their own: `[rows.len(), H]`.
    ///
    /// # Errors
    /// Device errors.
    pub fn gather(&self, hidden: &Tensor<B>, rows: &[u32]) -> Result<Tensor<B>> {
        let rows = Tensor::from_u32(self.backend(), &[rows.len()], MemoryKind::Activations, rows)?;
        Ok(ops::embedding(&rows, &hidden.clone().into(), self.activation)?)
    }

    /// The longest text: `max_position_embeddings`, which dynamic scaling stretches by its factor.
    pub fn max_length(&self) -> usize {
        let length = self.config.max_position_embeddings;
        match self.rope.scaling {
            RopeScaling::Dynamic { factor, .. } if factor > 1.0 => (length as f64 * factor) as usize,
            _ => length,
        }
    }

    /// Parameters of the base model.
    pub fn parameters(&self) -> usize {
        crate::layout(&self.config).map_or(0, |specs| {
            specs
                .iter()
                .map(|spec| spec.shape.iter().product::<usize>())
                .sum()
        })
    }
}

/// The rotary positions that config.json describes.
pub(crate) fn rope(config: &ModelConfig) -> Rope {
    use anylora_checkpoint::RopeScaling as Stored;
    let scaling = match config.rope.scaling {
        Stored::Default => RopeScaling::Default,
        Stored::Linear { factor } => RopeScaling::Linear { factor },
        Stored::Dynamic {
            factor,
            original_max_position_embeddings: max_position_embeddings,
        } => RopeScaling::Dynamic {
            factor,
            max_position_embeddings,
        },
        Stored::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        },
        Stored::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor,
            beta_fast,
            beta_slow,
            mscale,
            mscale_all_dim,
            truncate,
        } => RopeScaling::Yarn {
            factor,
            attention_factor: attention_factor
                .unwrap_or_else(|| yarn_attention_factor(factor, mscale, mscale_all_dim)),
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            truncate,
        },
    };
    Rope {
        dim: config.head_dim,
        theta: config.rope.theta,
        scaling,
    }
}
