//! What a device does. Callers use [`crate::ops`], which checks arguments and allocates; implementations may
//! rely on that: shapes fit, dtypes are of the documented kinds, outputs are allocated and hold no value.

use std::future::Future;
use std::ops::Range;

use crate::{
    AdamW, Attention, AttentionBackward, AttentionDecode, Caps, DType, DeviceInfo, Ledger, Linear,
    LinearBackward, LoraDown, LoraGrad, Result, Tensor, Weight,
};

/// A device and its kernels. A clone is the same device.
///
/// Row-major tensors; `M = batch * time`. "act" is f32, or f16 or bf16 where [`Caps::has_activation`] says so; all
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

    /// Bytes of the device's own memory that its driver took when it was opened, where it tells.
    fn driver_bytes(&self) -> Option<u64> {
        None
    }

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

    /// `out[m, :] = table[ids[m], :]`: ids `[M]` u32, table `[V, H]` in any format but 4 bits, out `[M, H]` act. An id
    /// past the table gives NaN.
    ///
    /// # Errors
    /// Device errors, as in every method below.
    fn embedding(&self, ids: &Tensor<Self>, table: &Weight<Self>, out: &Tensor<Self>) -> Result<()>;

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

    /// Every element becomes `value`: f32, f16, bf16, u32 or i32 (the value converted).
    ///
    /// # Errors
    /// Device errors.
    fn fill(&self, x: &Tensor<Self>, value: f32) -> Result<()>;

    /// `out = x` in another type: from f32, f16 or bf16 to f32 or, where the device has them, f16 and bf16.
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
