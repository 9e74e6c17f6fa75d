//! What a device does. Callers use [`crate::ops`], which checks arguments and allocates; implementations may
//! rely on that: shapes fit, dtypes are of the documented kinds, outputs are allocated and hold no value.

use std::future::Future;
use std::ops::Range;

use crate::{Caps, DType, DeviceInfo, Dropout, Ledger, Result, Tensor, Weight};

/// A device and its kernels. A clone is the same device.
///
/// Row-major tensors; `M = batch * time`. "act" is f32, or f16 where [`Caps::has_activation`] says so; all
/// reductions accumulate in f32, in a fixed order: the same inputs give the same bits.
pub trait Backend: Clone + 'static {
    /// One allocation. Dropping it frees it for reuse.
    type Storage: 'static;

    /// Who computes.
    fn info(&self) -> &DeviceInfo;

    /// Limits and kernel tier.
    fn caps(&self) -> &Caps;

    /// The books of this device's memory.
    fn ledger(&self) -> &Ledger;

    /// `len` elements of `dtype` in `bytes` bytes ([`Ledger::rounded`]), without a value.
    ///
    /// # Errors
    /// [`crate::Error::OutOfMemory`], [`crate::Error::DeviceLost`].
    fn allocate(&self, len: usize, dtype: DType, bytes: u64) -> Result<Self::Storage>;

    /// Overwrites bytes from `offset` on, after everything queued before.
    ///
    /// # Errors
    /// Device errors.
    fn upload(&self, storage: &Self::Storage, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Reads a range of bytes, after everything queued before.
    ///
    /// # Errors
    /// Everything that went wrong on the device since the last call.
    fn download(&self, storage: &Self::Storage, range: Range<u64>) -> impl Future<Output = Result<Vec<u8>>>;

    /// Waits for everything queued.
    ///
    /// # Errors
    /// Everything that went wrong on the device since the last call.
    fn synchronize(&self) -> impl Future<Output = Result<()>>;

    /// `out[m, :] = table[ids[m], :]`: ids `[M]` u32, table `[V, H]`, out `[M, H]` act. An id past the table
    /// gives NaN.
    ///
    /// # Errors
    /// Device errors, as in every method below.
    fn embedding(&self, ids: &Tensor<Self>, table: &Tensor<Self>, out: &Tensor<Self>) -> Result<()>;

    /// `y = x / sqrt(mean(x^2) + eps) * w`: x, y `[M, H]` act, w `[H]` f32.
    ///
    /// # Errors
    /// Device errors.
    fn rms_norm(&self, x: &Tensor<Self>, weight: &Tensor<Self>, eps: f32, y: &Tensor<Self>) -> Result<()>;

    /// With `r = 1 / sqrt(mean(x^2) + eps)` and `g = dy * w`: `dx = r * (g - x * r^2 * mean(g * x))`.
    ///
    /// # Errors
    /// Device errors.
    fn rms_norm_backward(
        &self,
        x: &Tensor<Self>,
        weight: &Tensor<Self>,
        eps: f32,
        dy: &Tensor<Self>,
        dx: &Tensor<Self>,
    ) -> Result<()>;

    /// See [`Linear`].
    ///
    /// # Errors
    /// Device errors.
    fn linear(&self, op: Linear<'_, Self>) -> Result<()>;

    /// See [`LinearBackward`].
    ///
    /// # Errors
    /// Device errors.
    fn linear_backward(&self, op: LinearBackward<'_, Self>) -> Result<()>;

    /// See [`LoraDown`].
    ///
    /// # Errors
    /// Device errors.
    fn lora_down(&self, op: LoraDown<'_, Self>) -> Result<()>;

    /// See [`LoraGrad`].
    ///
    /// # Errors
    /// Device errors.
    fn lora_grad(&self, op: LoraGrad<'_, Self>) -> Result<()>;

    /// Rotary embedding in the half-split layout: with `R = table.columns()`, `c = table[p, i]`,
    /// `s = table[p, R/2 + i]` and `p = positions[m]`, for `i < R/2`:
    /// `out[i] = x[i] c - x[i + R/2] s`, `out[i + R/2] = x[i + R/2] c + x[i] s`; elements from R on are copied.
    /// x, out `[M, H, D]` act; positions `[M]` u32; table `[P, R]` f32. `inverse` negates s: the gradient.
    /// A position past the table gives NaN.
    ///
    /// # Errors
    /// Device errors.
    fn rope(
        &self,
        x: &Tensor<Self>,
        positions: &Tensor<Self>,
        table: &Tensor<Self>,
        inverse: bool,
        out: &Tensor<Self>,
    ) -> Result<()>;

    /// See [`Attention`].
    ///
    /// # Errors
    /// Device errors.
    fn attention(&self, op: Attention<'_, Self>) -> Result<()>;

    /// See [`AttentionBackward`].
    ///
    /// # Errors
    /// Device errors.
    fn attention_backward(&self, op: AttentionBackward<'_, Self>) -> Result<()>;

    /// `out = silu(gate) * up`, all of one shape, act.
    ///
    /// # Errors
    /// Device errors.
    fn swiglu(&self, gate: &Tensor<Self>, up: &Tensor<Self>, out: &Tensor<Self>) -> Result<()>;

    /// With `s = sigmoid(gate)`: `dup = dy * gate * s`, `dgate = dy * up * s * (1 + gate * (1 - s))`.
    ///
    /// # Errors
    /// Device errors.
    fn swiglu_backward(
        &self,
        gate: &Tensor<Self>,
        up: &Tensor<Self>,
        dy: &Tensor<Self>,
        dgate: &Tensor<Self>,
        dup: &Tensor<Self>,
    ) -> Result<()>;

    /// Softmax cross-entropy a row: `stats[0, m] = lse(logits[m]) - logits[m, labels[m]]` and `stats[1, m] = 1`,
    /// or zeros where the label is -100. With `grad_scale`, logits become
    /// `(softmax(logits) - onehot(label)) * grad_scale`, or zeros.
    /// logits `[M, V]` f32; labels `[M]` i32; stats `[2, S]` f32 with S at least `column + M`, written from
    /// `column` on. A label outside `0..V` gives NaN.
    ///
    /// # Errors
    /// Device errors.
    fn cross_entropy(
        &self,
        logits: &Tensor<Self>,
        labels: &Tensor<Self>,
        grad_scale: Option<f32>,
        stats: &Tensor<Self>,
        column: usize,
    ) -> Result<()>;

    /// See [`AdamW`].
    ///
    /// # Errors
    /// Device errors.
    fn adamw(&self, op: AdamW<'_, Self>) -> Result<()>;

    /// `out[i, c] = sum over chunk c of row i` of x, or of x squared, where a chunk is `chunk` elements:
    /// x `[R, C]` f32, out `[R, S]` f32 written at columns `column .. column + ceil(C / chunk)`.
    ///
    /// # Errors
    /// Device errors.
    fn reduce(
        &self,
        x: &Tensor<Self>,
        square: bool,
        chunk: usize,
        out: &Tensor<Self>,
        column: usize,
    ) -> Result<()>;

    /// `out = a + b`, all of one shape, act; `out` may be `a`.
    ///
    /// # Errors
    /// Device errors.
    fn add(&self, a: &Tensor<Self>, b: &Tensor<Self>, out: &Tensor<Self>) -> Result<()>;

    /// `x = x * factor`, act.
    ///
    /// # Errors
    /// Device errors.
    fn scale(&self, x: &Tensor<Self>, factor: f32) -> Result<()>;

    /// Every element becomes `value`: f32, f16, u32 or i32 (the value converted).
    ///
    /// # Errors
    /// Device errors.
    fn fill(&self, x: &Tensor<Self>, value: f32) -> Result<()>;

    /// `out = x` in another type: from f32, f16 or bf16 to f32 or, where the device has it, f16.
    ///
    /// # Errors
    /// Device errors.
    fn cast(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()>;

    /// `out = x`, of the same type and size.
    ///
    /// # Errors
    /// Device errors.
    fn copy(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()>;

    /// See [`AttentionDecode`].
    ///
    /// # Errors
    /// Device errors.
    fn attention_decode(&self, op: AttentionDecode<'_, Self>) -> Result<()>;

    /// `cache[b, starts[b] + t] = new[b, t]`: new `[B, T, Hkv, D]` act, cache `[B, S, Hkv, D]` of its type, starts
    /// `[B]` u32. Rows past the cache's end are left out.
    ///
    /// # Errors
    /// Device errors.
    fn cache_append(&self, new: &Tensor<Self>, starts: &Tensor<Self>, cache: &Tensor<Self>) -> Result<()>;
}

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
