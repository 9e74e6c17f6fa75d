//! `shaders/attention_decode.wgsl`, and `attention_combine.wgsl` where the cache is split.

use anylora_engine::{AttentionDecode, DType, MemoryKind, Result, Tensor};
use anylora_shaders::params;

use super::attention::{dim_define, width_define};
use super::sequences::Window;
use crate::Wgpu;
use crate::context::Launch;

const OP: &str = "attention_decode";

/// Splitting pays from this many tokens a part on.
const SPLIT_TOKENS: u64 = 512;
/// Enough workgroups for a large GPU.
const WORKGROUPS: u64 = 256;

pub(crate) fn attention_decode(gpu: &Wgpu, op: AttentionDecode<'_, Wgpu>) -> Result<()> {
    let size = |tensor: &Tensor<Wgpu>, dimension: usize| tensor.shape()[dimension] as u32;
    let (batch, heads, dim) = (size(op.q, 0), size(op.q, 1), size(op.q, 2));
    let capacity = size(op.k_cache, 1);
    let rows = u64::from(batch) * u64::from(heads);
    // Lengths are known on the device only: the capacity stands for them.
    let seen = op.window.map_or(u64::from(capacity), |window| {
        u64::from(capacity).min(window as u64)
    });
    let splits = WORKGROUPS.div_ceil(rows).min(seen / SPLIT_TOKENS).max(1) as u32;
    let vectors = dim.div_ceil(4);
    let parts = if splits > 1 {
        let shape = [rows as usize, splits as usize, (vectors as usize + 1) * 4];
        Some(Tensor::empty(gpu, &shape, DType::F32, MemoryKind::Scratch)?)
    } else {
        None
    };
    let (to, result) = match &parts {
        Some(parts) => (
            "parts",
            parts.reshape(&[batch as usize, parts.len() / batch as usize])?,
        ),
        None => ("out", op.out.clone()),
    };
    for window in Window::all(gpu, OP, &[op.k_cache, op.v_cache], &[op.q, op.lengths, &result])? {
        let params = params::AttentionDecode {
            batch: window.len(),
            capacity,
            heads,
            kv_heads: size(op.k_cache, 2),
            dim,
            vectors,
            first: window.first(),
            window: op
                .window
                .map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX)),
            splits,
            scale: op.scale,
        };
        gpu.launch(&Launch {
            kernel: "attention_decode",
            defines: &[
                ("PARTIAL", if parts.is_some() { "1" } else { "0" }),
                ("DIM", dim_define(dim)),
                ("WIDTH", width_define(dim)),
                ("ACT", gpu.act(op.q.dtype())),
            ],
            entry: "decode",
            params: bytemuck::bytes_of(&params),
            bindings: &[
                ("q", window.bind_small(gpu, op.q)),
                ("k_cache", window.bind(gpu, op.k_cache)),
                ("v_cache", window.bind(gpu, op.v_cache)),
                ("lengths", window.bind_small(gpu, op.lengths)),
                (to, window.bind_small(gpu, &result)),
            ],
            workgroups: gpu.spread(u64::from(window.len()) * u64::from(heads) * u64::from(splits)),
        })?;
    }
    let Some(parts) = parts else { return Ok(()) };
    let params = params::AttentionCombine {
        rows: rows as u32,
        dim,
        vectors,
        splits,
    };
    gpu.launch(&Launch {
        kernel: "attention_combine",
        defines: &[("ACT", gpu.act(op.out.dtype()))],
        entry: "combine",
        params: bytemuck::bytes_of(&params),
        bindings: &[("parts", gpu.bind(&parts)), ("out", gpu.bind(op.out))],
        workgroups: gpu.spread(rows),
    })
}
