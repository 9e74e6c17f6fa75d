use anylora_engine::{AttentionDecode, Result, Tensor};

use crate::Cuda;
use crate::launch::{Launch, arguments, count, float};

pub(crate) fn attention_decode(gpu: &Cuda, op: AttentionDecode<'_, Cuda>) -> Result<()> {
    const OP: &str = "attention_decode";
    let AttentionDecode {
        q,
        k_cache,
        v_cache,
        lengths,
        window,
        scale,
        out,
    } = op;
    let (heads, dim) = (count(OP, q.shape()[1])?, count(OP, q.columns())?);
    let (capacity, kv_heads) = (count(OP, k_cache.shape()[1])?, count(OP, k_cache.shape()[2])?);
    let window = window.map_or(u32::MAX, |window| window.min(u32::MAX as usize) as u32);
    gpu.launch(Launch {
        file: "attention_decode",
        defines: &[("ACT", float(q.dtype()))],
        kernel: "attention_decode",
        blocks: q.leading() as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![
            q, k_cache, v_cache, lengths, out, heads, kv_heads, dim, capacity, window, scale
        ],
    })
}

pub(crate) fn cache_append(
    gpu: &Cuda,
    new: &Tensor<Cuda>,
    starts: &Tensor<Cuda>,
    cache: &Tensor<Cuda>,
) -> Result<()> {
    const OP: &str = "cache_append";
    let shape = new.shape();
    let (time, width) = (count(OP, shape[1])?, count(OP, shape[2] * shape[3])?);
    let capacity = count(OP, cache.shape()[1])?;
    gpu.launch(Launch {
        file: "cache_append",
        defines: &[("ACT", float(new.dtype()))],
        kernel: "cache_append",
        blocks: (shape[0] * shape[1]) as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![new, starts, cache, time, capacity, width],
    })
}
