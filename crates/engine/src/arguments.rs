//! The arguments of [`Backend`]'s larger methods, with their formulas.

use crate::{Backend, Dropout, Tensor, Weight};

/// `y = x W^T + bias + xa B^T`, one pass over y.
pub struct Linear<'a, B: Backend> {
    /// `[M, K]` act.
    pub x: &'a Tensor<B>,
    /// `[N, K]`, any format.
    pub weight: &'a Weight<B>,
    /// `[N]` f32.
    pub bias: Option<&'a Tensor<B>>,
    /// The adapter's share.
    pub lora: Option<LoraTerm<'a, B>>,
    /// `[M, N]`, of x's type or f32.
    pub y: &'a Tensor<B>,
}

/// The adapter's share of a [`Linear`].
pub struct LoraTerm<'a, B: Backend> {
    /// `scale * dropout(x) A^T`, `[M, r]` f32.
    pub xa: &'a Tensor<B>,
    /// `[N, r]` f32.
    pub b: &'a Tensor<B>,
}

/// `dx = dy W + mask * (dyb A)`, one pass over dx.
pub struct LinearBackward<'a, B: Backend> {
    /// `[M, N]`, of dx's type or f32.
    pub dy: &'a Tensor<B>,
    /// `[N, K]`, any format.
    pub weight: &'a Weight<B>,
    /// The adapter's share.
    pub lora: Option<LoraTermBackward<'a, B>>,
    /// `[M, K]` act.
    pub dx: &'a Tensor<B>,
}

/// The adapter's share of a [`LinearBackward`].
pub struct LoraTermBackward<'a, B: Backend> {
    /// `scale * dy B`, `[M, r]` f32.
    pub dyb: &'a Tensor<B>,
    /// `[r, K]` f32.
    pub a: &'a Tensor<B>,
    /// The mask that forward applied to x.
    pub dropout: Option<Dropout>,
}

/// Which of an adapter's two matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A, `[r, K]`.
    A,
    /// B, `[N, r]`.
    B,
}

/// The product with the adapter's thin side, `[M, r]`:
/// side A: `out = scale * dropout(x) A^T`; side B: `out = scale * x B`.
pub struct LoraDown<'a, B: Backend> {
    /// `[M, K]` (or, with side B, `[M, N]`) act.
    pub x: &'a Tensor<B>,
    /// A `[r, K]` or B `[N, r]`, f32.
    pub matrix: &'a Tensor<B>,
    /// Which of the two it is.
    pub side: Side,
    /// `lora_alpha / r` or `lora_alpha / sqrt(r)`.
    pub scale: f32,
    /// Applied to x.
    pub dropout: Option<Dropout>,
    /// `[M, r]` f32.
    pub out: &'a Tensor<B>,
}

/// An adapter matrix's gradient, added to what `grad` holds:
/// side A: `grad[r, K] += thin^T dropout(wide)`; side B: `grad[N, r] += wide^T thin`.
pub struct LoraGrad<'a, B: Backend> {
    /// `[M, r]` f32: dyb for A, xa for B (both hold the scale already).
    pub thin: &'a Tensor<B>,
    /// `[M, K]` (x) for A, `[M, N]` (dy) for B; act.
    pub wide: &'a Tensor<B>,
    /// Whose gradient.
    pub side: Side,
    /// Applied to `wide`.
    pub dropout: Option<Dropout>,
    /// `[r, K]` or `[N, r]` f32.
    pub grad: &'a Tensor<B>,
}

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// Only keys up to the query's own position.
    pub causal: bool,
    /// Only keys at a distance below this (as transformers' `sliding_window`).
    pub window: Option<usize>,
}

/// Attention without a T x T buffer (Dao, "FlashAttention-2", arXiv 2307.08691).
///
/// `s = scale * q k^T` where the mask allows, `o = softmax(s) v`, `lse = log(sum(exp(s)))`; query head h reads
/// key-value head `h / (Hq / Hkv)`.
pub struct Attention<'a, B: Backend> {
    /// `[B, T, Hq, D]` act.
    pub q: &'a Tensor<B>,
    /// `[B, T, Hkv, D]` act.
    pub k: &'a Tensor<B>,
    /// `[B, T, Hkv, D]` act.
    pub v: &'a Tensor<B>,
    /// `[B, T]` u32: a query sees keys of its own segment only.
    pub segments: Option<&'a Tensor<B>>,
    /// Causality and window.
    pub mask: Mask,
    /// Usually `1 / sqrt(D)`.
    pub scale: f32,
    /// `[B, T, Hq, D]` act.
    pub out: &'a Tensor<B>,
    /// `[B, T, Hq]` f32, for backward.
    pub lse: &'a Tensor<B>,
}

/// The gradients of [`Attention`], recomputing the scores by tile.
pub struct AttentionBackward<'a, B: Backend> {
    /// Forward's arguments and results.
    pub forward: Attention<'a, B>,
    /// `[B, T, Hq, D]` act.
    pub dout: &'a Tensor<B>,
    /// Scratch `[B, T, Hq]` f32: becomes `sum(dout * out)` a row.
    pub delta: &'a Tensor<B>,
    /// `[B, T, Hq, D]` act.
    pub dq: &'a Tensor<B>,
    /// `[B, T, Hkv, D]` act.
    pub dk: &'a Tensor<B>,
    /// `[B, T, Hkv, D]` act.
    pub dv: &'a Tensor<B>,
}

/// One optimizer step, in place (Loshchilov and Hutter, arXiv 1711.05101; as `torch.optim.AdamW`).
///
/// `g = grad * grad_scale; p *= 1 - lr * weight_decay; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2;`
/// `p -= lr / (1 - b1^step) * m / (sqrt(v) / sqrt(1 - b2^step) + eps)`. All tensors f32, of one shape.
pub struct AdamW<'a, B: Backend> {
    /// The parameter.
    pub param: &'a Tensor<B>,
    /// Its gradient.
    pub grad: &'a Tensor<B>,
    /// The first moment.
    pub m: &'a Tensor<B>,
    /// The second moment.
    pub v: &'a Tensor<B>,
    /// From 1.
    pub step: u32,
    /// The learning rate.
    pub lr: f32,
    /// `(0.9, 0.999)` by default in the field.
    pub betas: (f32, f32),
    /// `1e-8` by default in the field.
    pub eps: f32,
    /// Decoupled decay.
    pub weight_decay: f32,
    /// Clipping, loss scaling and token weighting in one factor.
    pub grad_scale: f32,
}

/// Attention of one new token a sequence over the cache.
pub struct AttentionDecode<'a, B: Backend> {
    /// `[B, Hq, D]` act.
    pub q: &'a Tensor<B>,
    /// `[B, S, Hkv, D]`, of q's type.
    pub k_cache: &'a Tensor<B>,
    /// `[B, S, Hkv, D]`, of q's type.
    pub v_cache: &'a Tensor<B>,
    /// `[B]` u32: how many cached tokens count, the new one included; at most S are read.
    pub lengths: &'a Tensor<B>,
    /// As [`Mask::window`].
    pub window: Option<usize>,
    /// Usually `1 / sqrt(D)`.
    pub scale: f32,
    /// `[B, Hq, D]` act.
    pub out: &'a Tensor<B>,
}

/// References can be copied whatever the backend is; a derive would ask for `B: Copy`.
macro_rules! copied {
    ($($name:ident),*) => {$(
        impl<B: Backend> Clone for $name<'_, B> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<B: Backend> Copy for $name<'_, B> {}
    )*};
}
copied!(
    Linear,
    LoraTerm,
    LinearBackward,
    LoraTermBackward,
    LoraDown,
    LoraGrad,
    Attention,
    AttentionBackward,
    AdamW,
    AttentionDecode
);
