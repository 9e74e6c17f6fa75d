use super::{result, scratch};
use crate::{Attention, AttentionBackward, Backend, DType, Error, Mask, MemoryKind, Result, Tensor};

const OP: &str = "attention";

/// Forward's arguments. See [`crate::Attention`] for the formula.
pub struct AttentionInput<'a, B: Backend> {
    /// `[B, T, Hq, D]` act.
    pub q: &'a Tensor<B>,
    /// `[B, T, Hkv, D]` of q's type; Hkv divides Hq.
    pub k: &'a Tensor<B>,
    /// `[B, T, Hkv, D]` of q's type.
    pub v: &'a Tensor<B>,
    /// `[B, T]` u32: a query sees keys of its own segment only.
    pub segments: Option<&'a Tensor<B>>,
    /// Causality and window.
    pub mask: Mask,
    /// Usually `1 / sqrt(D)`.
    pub scale: f32,
}

/// Attention without a T x T buffer. Returns out (`[B, T, Hq, D]`) and lse (`[B, T, Hq]` f32), which backward takes.
///
/// # Errors
/// See [`crate::ops`].
pub fn attention<B: Backend>(input: &AttentionInput<'_, B>) -> Result<(Tensor<B>, Tensor<B>)> {
    check(input)?;
    let backend = input.q.backend();
    let out = result(backend, input.q.shape(), input.q.dtype())?;
    let lse = Tensor::empty(
        backend,
        &input.q.shape()[..3],
        DType::F32,
        MemoryKind::Activations,
    )?;
    backend.attention(input.with(&out, &lse))?;
    Ok((out, lse))
}

/// The gradients of [`attention`]: dq (`[B, T, Hq, D]`), dk and dv (`[B, T, Hkv, D]`).
///
/// # Errors
/// See [`crate::ops`].
pub fn attention_backward<B: Backend>(
    input: &AttentionInput<'_, B>,
    out: &Tensor<B>,
    lse: &Tensor<B>,
    dout: &Tensor<B>,
) -> Result<[Tensor<B>; 3]> {
    check(input)?;
    let (shape, dtype) = (input.q.shape(), input.q.dtype());
    for (argument, tensor) in [("out", out), ("dout", dout)] {
        tensor.expect_shape(OP, argument, shape)?;
        tensor.expect_dtype(OP, argument, &[dtype], "of q's type")?;
    }
    lse.expect_shape(OP, "lse", &shape[..3])?;
    let backend = input.q.backend();
    let delta = scratch(backend, &shape[..3])?;
    let dq = result(backend, shape, dtype)?;
    let dk = result(backend, input.k.shape(), dtype)?;
    let dv = result(backend, input.k.shape(), dtype)?;
    backend.attention_backward(AttentionBackward {
        forward: input.with(out, lse),
        dout,
        delta: &delta,
        dq: &dq,
        dk: &dk,
        dv: &dv,
    })?;
    Ok([dq, dk, dv])
}

impl<'a, B: Backend> AttentionInput<'a, B> {
    fn with(&self, out: &'a Tensor<B>, lse: &'a Tensor<B>) -> Attention<'a, B> {
        let Self {
            q,
            k,
            v,
            segments,
            mask,
            scale,
        } = *self;
        Attention {
            q,
            k,
            v,
            segments,
            mask,
            scale,
            out,
            lse,
        }
    }
}

fn check<B: Backend>(input: &AttentionInput<'_, B>) -> Result<()> {
    let AttentionInput {
        q,
        k,
        v,
        segments,
        mask,
        ..
    } = *input;
    q.expect_rank(OP, "q", &["B", "T", "Hq", "D"])?;
    q.expect_activation(OP, "q")?;
    let (batch, time, heads, dim) = (q.shape()[0], q.shape()[1], q.shape()[2], q.shape()[3]);
    k.expect_rank(OP, "k", &["B", "T", "Hkv", "D"])?;
    let kv_heads = k.shape()[2];
    for (argument, tensor) in [("k", k), ("v", v)] {
        tensor.expect_shape(OP, argument, &[batch, time, kv_heads, dim])?;
        tensor.expect_dtype(OP, argument, &[q.dtype()], "of q's type")?;
    }
    check_heads(OP, heads, kv_heads, dim, mask.window)?;
    if let Some(segments) = segments {
        segments.expect_shape(OP, "segments", &[batch, time])?;
        segments.expect_dtype(OP, "segments", &[DType::U32], "u32")?;
    }
    Ok(())
}

/// Kernels are made for heads of at most this size.
const MAX_HEAD_DIM: usize = 256;

pub(super) fn check_heads(
    op: &'static str,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    window: Option<usize>,
) -> Result<()> {
    let what = if !heads.is_multiple_of(kv_heads) {
        format!("{heads} query heads can't share {kv_heads} key-value heads evenly")
    } else if dim > MAX_HEAD_DIM {
        format!("head_dim should be at most {MAX_HEAD_DIM}, found {dim}")
    } else if window == Some(0) {
        "the window should be at least 1".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::Argument { op, what })
}
