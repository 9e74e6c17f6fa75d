use anylora_engine::{Backend, Error, MemoryKind, Result, Tensor};

use crate::kv_cache::CacheStep;
use crate::{Attention, BlockAdapters, Eager, Forward, FrozenLinear, Mlp, Projection, RmsNorm};

/// What every block of one pass shares.
pub struct Context<B: Backend> {
    /// Sequences.
    pub batch: usize,
    /// Tokens a sequence.
    pub time: usize,
    /// `[M]` u32: each token's position, which with packing starts again at each segment.
    pub positions: Tensor<B>,
    /// `[B, T]` u32: which example of a packed row a token belongs to; attention does not cross.
    pub segments: Option<Tensor<B>>,
    /// `[P, R]` f32: see [`crate::Rope::table`].
    pub rope: Tensor<B>,
}

impl<B: Backend> Context<B> {
    /// The context of `batch` rows of `time` tokens; positions `[M]` and segments `[M]` row-major, positions counting
    /// from 0 in every row where None.
    ///
    /// # Errors
    /// [`Error::Argument`] where a position lies past the table or a length is not M; device errors.
    pub fn new(
        [batch, time]: [usize; 2],
        positions: Option<&[u32]>,
        segments: Option<&[u32]>,
        rope: Tensor<B>,
    ) -> Result<Self> {
        let rows = batch * time;
        let counted: Vec<u32>;
        let positions = match positions {
            Some(positions) => positions,
            None => {
                counted = (0..rows).map(|row| (row % time) as u32).collect();
                &counted
            }
        };
        let table = rope.shape()[0];
        if let Some(&position) = positions.iter().find(|&&position| position as usize >= table) {
            let what = format!("position {position} lies past the {table} that the table was made for");
            return Err(Error::Argument { op: "rope", what });
        }
        let backend = rope.backend();
        let upload =
            |shape: &[usize], values| Tensor::from_u32(backend, shape, MemoryKind::Activations, values);
        Ok(Self {
            batch,
            time,
            positions: upload(&[rows], positions)?,
            segments: segments
                .map(|segments| upload(&[batch, time], segments))
                .transpose()?,
            rope,
        })
    }
}

/// A pre-norm decoder block: `h = x + attention(norm(x))`, `y = h + mlp(norm(h))`.
pub struct Block<B: Backend> {
    /// Before attention.
    pub input_layernorm: RmsNorm<B>,
    /// Attention.
    pub self_attn: Attention<B>,
    /// Before the MLP.
    pub post_attention_layernorm: RmsNorm<B>,
    /// The feed-forward part.
    pub mlp: Mlp<B>,
}

impl<B: Backend> Clone for Block<B> {
    fn clone(&self) -> Self {
        Self {
            input_layernorm: self.input_layernorm.clone(),
            self_attn: self.self_attn.clone(),
            post_attention_layernorm: self.post_attention_layernorm.clone(),
            mlp: self.mlp.clone(),
        }
    }
}

impl<B: Backend> Block<B> {
    /// x `[M, H]` act to the same.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward<F: Forward<B>>(&self, f: &mut F, x: F::Value, context: &Context<B>) -> Result<F::Value> {
        let normed = self.input_layernorm.forward(f, &x)?;
        let attended = self.self_attn.forward(f, normed, context)?;
        let x = f.add(x, attended)?;
        self.feed_forward(f, x)
    }

    /// The same for generation, with this block's cache.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward_cached(
        &self,
        x: Tensor<B>,
        context: &Context<B>,
        cache: &[Tensor<B>; 2],
        step: &CacheStep<B>,
    ) -> Result<Tensor<B>> {
        let f = &mut Eager;
        let normed = self.input_layernorm.forward(f, &x)?;
        let attended = self.self_attn.forward_cached(normed, context, cache, step)?;
        let x = Forward::<B>::add(f, x, attended)?;
        self.feed_forward(f, x)
    }

    fn feed_forward<F: Forward<B>>(&self, f: &mut F, x: F::Value) -> Result<F::Value> {
        let normed = self.post_attention_layernorm.forward(f, &x)?;
        let fed = self.mlp.forward(f, normed)?;
        f.add(x, fed)
    }

    /// The same block with these adapters on its linear layers, and no others.
    #[must_use]
    pub fn with_adapters(mut self, adapters: &BlockAdapters<B>) -> Self {
        for projection in Projection::ALL {
            self.linear_mut(projection).lora = adapters.get(projection).cloned();
        }
        self
    }

    /// One of the linear layers.
    pub const fn linear(&self, projection: Projection) -> &FrozenLinear<B> {
        match projection {
            Projection::Q => &self.self_attn.q_proj,
            Projection::K => &self.self_attn.k_proj,
            Projection::V => &self.self_attn.v_proj,
            Projection::O => &self.self_attn.o_proj,
            Projection::Gate => &self.mlp.gate_proj,
            Projection::Up => &self.mlp.up_proj,
            Projection::Down => &self.mlp.down_proj,
        }
    }

    /// One of the linear layers, to be changed.
    pub const fn linear_mut(&mut self, projection: Projection) -> &mut FrozenLinear<B> {
        match projection {
            Projection::Q => &mut self.self_attn.q_proj,
            Projection::K => &mut self.self_attn.k_proj,
            Projection::V => &mut self.self_attn.v_proj,
            Projection::O => &mut self.self_attn.o_proj,
            Projection::Gate => &mut self.mlp.gate_proj,
            Projection::Up => &mut self.mlp.up_proj,
            Projection::Down => &mut self.mlp.down_proj,
        }
    }
}
