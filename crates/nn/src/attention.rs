use anylora_engine::{Backend, Mask, Result, Tensor, ops};

use crate::kv_cache::CacheStep;
use crate::{Context, Eager, Forward, FrozenLinear, RmsNorm};

/// Causal self-attention with grouped key-value heads (Ainslie et al., "GQA", arXiv 2305.13245) and rotary positions.
/// Query head h reads key-value head `h / (num_heads / num_kv_heads)`.
pub struct Attention<B: Backend> {
    /// `[num_heads * head_dim, H]`.
    pub q_proj: FrozenLinear<B>,
    /// `[num_kv_heads * head_dim, H]`.
    pub k_proj: FrozenLinear<B>,
    /// `[num_kv_heads * head_dim, H]`.
    pub v_proj: FrozenLinear<B>,
    /// `[H, num_heads * head_dim]`.
    pub o_proj: FrozenLinear<B>,
    /// Over each query head, before the rotation (Qwen 3).
    pub q_norm: Option<RmsNorm<B>>,
    /// Over each key head, before the rotation (Qwen 3).
    pub k_norm: Option<RmsNorm<B>>,
    /// `num_attention_heads`.
    pub num_heads: usize,
    /// `num_key_value_heads`.
    pub num_kv_heads: usize,
    /// The size of a head.
    pub head_dim: usize,
    /// Keys at a distance below this are seen (`sliding_window`).
    pub window: Option<usize>,
}

impl<B: Backend> Clone for Attention<B> {
    fn clone(&self) -> Self {
        Self {
            q_proj: self.q_proj.clone(),
            k_proj: self.k_proj.clone(),
            v_proj: self.v_proj.clone(),
            o_proj: self.o_proj.clone(),
            q_norm: self.q_norm.clone(),
            k_norm: self.k_norm.clone(),
            num_heads: self.num_heads,
            num_kv_heads: self.num_kv_heads,
            head_dim: self.head_dim,
            window: self.window,
        }
    }
}

impl<B: Backend> Attention<B> {
    /// x `[M, H]` act to the same.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward<F: Forward<B>>(&self, f: &mut F, x: F::Value, context: &Context<B>) -> Result<F::Value> {
        let qkv = self.project(f, x, context)?;
        let mask = Mask {
            causal: true,
            window: self.window,
        };
        let out = f.attention(qkv, context.segments.as_ref(), mask, self.scale())?;
        self.output(f, out, context)
    }

    /// The same for generation: puts the new keys and values into the layer's cache, and with one new token a
    /// sequence reads everything cached.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward_cached(
        &self,
        x: Tensor<B>,
        context: &Context<B>,
        [k_cache, v_cache]: &[Tensor<B>; 2],
        step: &CacheStep<B>,
    ) -> Result<Tensor<B>> {
        let f = &mut Eager;
        let [q, k, v] = self.project(f, x, context)?;
        ops::cache_append(&k, step.starts(), k_cache)?;
        ops::cache_append(&v, step.starts(), v_cache)?;
        let out = match step {
            CacheStep::Prefill { .. } => {
                let mask = Mask {
                    causal: true,
                    window: self.window,
                };
                Forward::<B>::attention(f, [q, k, v], context.segments.as_ref(), mask, self.scale())?
            }
            CacheStep::Decode { lengths, .. } => {
                let q = q.reshape(&[context.batch, self.num_heads, self.head_dim])?;
                ops::attention_decode(&q, k_cache, v_cache, lengths, self.window, self.scale())?
            }
        };
        self.output(f, out, context)
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// Queries, keys and values, rotated: `[B, T, heads, D]`.
    fn project<F: Forward<B>>(&self, f: &mut F, x: F::Value, context: &Context<B>) -> Result<[F::Value; 3]> {
        let q = self.q_proj.forward(f, &x)?;
        let k = self.k_proj.forward(f, &x)?;
        let v = self.v_proj.forward(f, &x)?;
        drop(x);
        let q = self.rotate(f, q, self.q_norm.as_ref(), self.num_heads, context)?;
        let k = self.rotate(f, k, self.k_norm.as_ref(), self.num_kv_heads, context)?;
        let v = f.reshape(
            v,
            &[context.batch, context.time, self.num_kv_heads, self.head_dim],
        )?;
        Ok([q, k, v])
    }

    /// x `[M, heads * D]` to `[B, T, heads, D]`, normalized where the family does that, then rotated.
    fn rotate<F: Forward<B>>(
        &self,
        f: &mut F,
        mut x: F::Value,
        norm: Option<&RmsNorm<B>>,
        heads: usize,
        context: &Context<B>,
    ) -> Result<F::Value> {
        let rows = context.batch * context.time;
        if let Some(norm) = norm {
            x = f.reshape(x, &[rows * heads, self.head_dim])?;
            x = norm.forward(f, &x)?;
        }
        x = f.reshape(x, &[rows, heads, self.head_dim])?;
        x = f.rope(x, &context.positions, &context.rope)?;
        f.reshape(x, &[context.batch, context.time, heads, self.head_dim])
    }

    fn output<F: Forward<B>>(&self, f: &mut F, out: F::Value, context: &Context<B>) -> Result<F::Value> {
        let rows = context.batch * context.time;
        let out = f.reshape(out, &[rows, self.num_heads * self.head_dim])?;
        self.o_proj.forward(f, &out)
    }
}
