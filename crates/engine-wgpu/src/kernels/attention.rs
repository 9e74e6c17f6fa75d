//! `shaders/attention.wgsl`, `attention_delta.wgsl`, `attention_backward.wgsl`: by windows of sequences, a workgroup
//! for each 32 queries (or keys) of a head.

use anylora_engine::{Attention, AttentionBackward, Result, Tensor};
use anylora_shaders::params;

use super::sequences::Window;
use crate::Wgpu;
use crate::context::{Bind, Launch};

const OP: &str = "attention";

/// Rows of a workgroup: `TILE` of the shaders.
const TILE: u64 = 32;
/// Rows of a workgroup of `attention_delta.wgsl`.
const DELTA_ROWS: u64 = 8;

pub(crate) fn attention(gpu: &Wgpu, op: Attention<'_, Wgpu>) -> Result<()> {
    let small: Vec<_> = op.segments.into_iter().chain([op.lse]).collect();
    let heads = Heads::of(&op);
    for window in Window::all(gpu, OP, &[op.q, op.k, op.v, op.out], &small)? {
        gpu.launch(&Launch {
            kernel: "attention",
            defines: &[
                ("DIM", dim_define(heads.dim)),
                ("WIDTH", width_define(heads.dim)),
                ("ACT", gpu.act(op.q.dtype())),
            ],
            entry: "forward",
            params: bytemuck::bytes_of(&heads.params(&op, &window)),
            bindings: &[
                ("q", window.bind(gpu, op.q)),
                ("k", window.bind(gpu, op.k)),
                ("v", window.bind(gpu, op.v)),
                ("segments", segments(gpu, &window, &op)),
                ("out", window.bind(gpu, op.out)),
                ("lse", window.bind_small(gpu, op.lse)),
            ],
            workgroups: gpu.spread(heads.workgroups(&window, heads.heads)),
        })?;
    }
    Ok(())
}

pub(crate) fn attention_backward(gpu: &Wgpu, op: AttentionBackward<'_, Wgpu>) -> Result<()> {
    let forward = &op.forward;
    let small: Vec<_> = forward
        .segments
        .into_iter()
        .chain([forward.lse, op.delta])
        .collect();
    let large = [
        forward.q,
        forward.k,
        forward.v,
        forward.out,
        op.dout,
        op.dq,
        op.dk,
        op.dv,
    ];
    let heads = Heads::of(forward);
    for window in Window::all(gpu, OP, &large, &small)? {
        delta(gpu, &op, &heads, &window)?;
        for (name, grad, of_rows) in [
            ("dq", op.dq, heads.heads),
            ("dk", op.dk, heads.kv_heads),
            ("dv", op.dv, heads.kv_heads),
        ] {
            let mut bindings = vec![
                ("q", window.bind(gpu, forward.q)),
                ("k", window.bind(gpu, forward.k)),
                ("dout", window.bind(gpu, op.dout)),
                ("segments", segments(gpu, &window, forward)),
                ("lse", window.bind_small(gpu, forward.lse)),
                ("grad", window.bind(gpu, grad)),
            ];
            if name != "dv" {
                bindings.push(("v", window.bind(gpu, forward.v)));
                bindings.push(("delta", window.bind_small(gpu, op.delta)));
            }
            gpu.launch(&Launch {
                kernel: "attention_backward",
                defines: &[
                    ("GRAD", name),
                    ("DIM", dim_define(heads.dim)),
                    ("WIDTH", width_define(heads.dim)),
                    ("ACT", gpu.act(forward.q.dtype())),
                ],
                entry: "backward",
                // Both kernels take the struct of `shared/attention_tile.wgsl`.
                params: bytemuck::bytes_of(&heads.params(forward, &window)),
                bindings: &bindings,
                workgroups: gpu.spread(heads.workgroups(&window, of_rows)),
            })?;
        }
    }
    Ok(())
}

fn delta(gpu: &Wgpu, op: &AttentionBackward<'_, Wgpu>, heads: &Heads, window: &Window) -> Result<()> {
    let of_sequence = heads.time * heads.heads;
    let rows = window.len() * of_sequence;
    let params = params::AttentionDelta {
        rows,
        width: width(heads.dim),
        first: window.first() * of_sequence,
    };
    gpu.launch(&Launch {
        kernel: "attention_delta",
        defines: &[
            ("WIDTH", width_define(heads.dim)),
            ("ACT", gpu.act(op.dout.dtype())),
        ],
        entry: "delta_rows",
        params: bytemuck::bytes_of(&params),
        bindings: &[
            ("dout", window.bind(gpu, op.dout)),
            ("out", window.bind(gpu, op.forward.out)),
            ("delta", window.bind_small(gpu, op.delta)),
        ],
        workgroups: gpu.spread(u64::from(rows).div_ceil(DELTA_ROWS)),
    })
}

/// Sizes of one call.
struct Heads {
    time: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
}

impl Heads {
    fn of(op: &Attention<'_, Wgpu>) -> Self {
        let size = |tensor: &Tensor<Wgpu>, dimension: usize| tensor.shape()[dimension] as u32;
        Self {
            time: size(op.q, 1),
            heads: size(op.q, 2),
            kv_heads: size(op.k, 2),
            dim: size(op.q, 3),
        }
    }

    fn params(&self, op: &Attention<'_, Wgpu>, window: &Window) -> params::Attention {
        let time = self.time as usize;
        params::Attention {
            batch: window.len(),
            time: self.time,
            heads: self.heads,
            kv_heads: self.kv_heads,
            dim: self.dim,
            vectors: self.dim.div_ceil(4),
            first: window.first(),
            causal: u32::from(op.mask.causal),
            // No two tokens are further apart than T - 1.
            window: op.mask.window.unwrap_or(time).min(time) as u32,
            segmented: u32::from(op.segments.is_some()),
            scale: op.scale,
        }
    }

    /// One for each tile of each head.
    fn workgroups(&self, window: &Window, heads: u32) -> u64 {
        u64::from(window.len()) * u64::from(heads) * u64::from(self.time).div_ceil(TILE)
    }
}

fn segments(gpu: &Wgpu, window: &Window, op: &Attention<'_, Wgpu>) -> Bind {
    op.segments
        .map_or_else(|| gpu.dummy(), |segments| window.bind_small(gpu, segments))
}

/// The define of a head's greatest size. Odd sizes have no variant of 128: there are few models of that kind.
pub(super) fn dim_define(dim: u32) -> &'static str {
    match dim {
        ..=64 => "64",
        65..=128 if dim.is_multiple_of(4) => "128",
        _ => "256",
    }
}

/// The define of how many elements are loaded at once.
pub(super) fn width_define(elements: u32) -> &'static str {
    if elements.is_multiple_of(4) { "4" } else { "1" }
}

/// A row's size in what is loaded at once.
pub(super) fn width(elements: u32) -> u32 {
    if elements.is_multiple_of(4) {
        elements / 4
    } else {
        elements
    }
}
