use super::{attention::check_heads, result};
use crate::{AttentionDecode, Backend, DType, Linear, Result, Tensor, Weight};

/// Attention of one new token a sequence over the cache: q `[B, Hq, D]` act, caches `[B, S, Hkv, D]` of q's type,
/// lengths `[B]` u32 (the new token included). Returns `[B, Hq, D]`. See [`crate::Attention`] for the formula.
///
/// # Errors
/// See [`crate::ops`].
pub fn attention_decode<B: Backend>(
    q: &Tensor<B>,
    k_cache: &Tensor<B>,
    v_cache: &Tensor<B>,
    lengths: &Tensor<B>,
    window: Option<usize>,
    scale: f32,
) -> Result<Tensor<B>> {
    const OP: &str = "attention_decode";
    q.expect_rank(OP, "q", &["B", "Hq", "D"])?;
    q.expect_activation(OP, "q")?;
    let (batch, heads, dim) = (q.shape()[0], q.shape()[1], q.shape()[2]);
    k_cache.expect_rank(OP, "k_cache", &["B", "S", "Hkv", "D"])?;
    let (capacity, kv_heads) = (k_cache.shape()[1], k_cache.shape()[2]);
    for (argument, cache) in [("k_cache", k_cache), ("v_cache", v_cache)] {
        cache.expect_shape(OP, argument, &[batch, capacity, kv_heads, dim])?;
        cache.expect_dtype(OP, argument, &[q.dtype()], "of q's type")?;
    }
    check_heads(OP, heads, kv_heads, dim, window)?;
    check_per_sequence(OP, "lengths", lengths, batch)?;
    let out = result(q.backend(), q.shape(), q.dtype())?;
    q.backend().attention_decode(AttentionDecode {
        q,
        k_cache,
        v_cache,
        lengths,
        window,
        scale,
        out: &out,
    })?;
    Ok(out)
}

/// Writes `new` (`[B, T, Hkv, D]` act) into `cache` (`[B, S, Hkv, D]`) from `starts[b]` (`[B]` u32) on; what would
/// lie past S is left out.
///
/// # Errors
/// See [`crate::ops`].
pub fn cache_append<B: Backend>(new: &Tensor<B>, starts: &Tensor<B>, cache: &Tensor<B>) -> Result<()> {
    const OP: &str = "cache_append";
    new.expect_rank(OP, "new", &["B", "T", "Hkv", "D"])?;
    new.expect_activation(OP, "new")?;
    cache.expect_rank(OP, "cache", &["B", "S", "Hkv", "D"])?;
    cache.expect_dtype(OP, "cache", &[new.dtype()], "of new's type")?;
    let capacity = cache.shape()[1];
    cache.expect_shape(
        OP,
        "cache",
        &[new.shape()[0], capacity, new.shape()[2], new.shape()[3]],
    )?;
    check_per_sequence(OP, "starts", starts, new.shape()[0])?;
    new.backend().cache_append(new, starts, cache)
}

/// The head's logits for generation: x `[M, H]` act, W `[V, H]` in any format; `[M, V]` f32.
///
/// # Errors
/// See [`crate::ops`].
pub fn logits<B: Backend>(x: &Tensor<B>, weight: &Weight<B>) -> Result<Tensor<B>> {
    super::linear::check(x, weight, None)?;
    let y = result(x.backend(), &[x.leading(), weight.shape()[0]], DType::F32)?;
    x.backend().linear(Linear {
        x,
        weight,
        bias: None,
        lora: None,
        y: &y,
    })?;
    Ok(y)
}

fn check_per_sequence<B: Backend>(
    op: &'static str,
    argument: &'static str,
    tensor: &Tensor<B>,
    batch: usize,
) -> Result<()> {
    tensor.expect_shape(op, argument, &[batch])?;
    tensor.expect_dtype(op, argument, &[DType::U32], "u32")
}
