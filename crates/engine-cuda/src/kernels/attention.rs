use anylora_engine::{Attention, AttentionBackward, DType, Result};
use bytemuck::{Pod, Zeroable};

use crate::Cuda;
use crate::launch::{Address, Launch, Struct, address, arguments, count, float};

const OP: &str = "attention";

/// `Heads` of `cuda/shared/attention.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Heads {
    segments: Address,
    batch: u32,
    time: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
    window: u32,
    causal: u32,
    scale: f32,
}

impl Heads {
    fn of(op: &Attention<'_, Cuda>) -> Result<Self> {
        let shape = op.q.shape();
        Ok(Self {
            segments: op.segments.map(address).unwrap_or_default(),
            batch: count(OP, shape[0])?,
            time: count(OP, shape[1])?,
            heads: count(OP, shape[2])?,
            kv_heads: count(OP, op.k.shape()[2])?,
            dim: count(OP, shape[3])?,
            // A window past the sequence hides nothing.
            window: op
                .mask
                .window
                .map_or(u32::MAX, |window| window.min(u32::MAX as usize) as u32),
            causal: op.mask.causal.into(),
            scale: op.scale,
        })
    }

    /// The define of the widest head, and the tokens of a tile.
    const fn tile(&self) -> (&'static str, u32, u32) {
        match self.dim {
            0..=64 => ("64", 64, 32),
            65..=128 => ("128", 128, 32),
            _ => ("256", 256, 16),
        }
    }

    /// Blocks for tiles of each of `heads` heads.
    fn blocks(&self, tile: u32, heads: u32) -> u64 {
        u64::from(self.time.div_ceil(tile)) * u64::from(self.batch) * u64::from(heads)
    }
}

fn defines(dtype: DType, dim: &'static str) -> [(&'static str, &'static str); 2] {
    [("ACT", float(dtype)), ("DIM", dim)]
}

pub(crate) fn attention(gpu: &Cuda, op: Attention<'_, Cuda>) -> Result<()> {
    let shape = Heads::of(&op)?;
    let (dim, _, tile) = shape.tile();
    gpu.launch(Launch {
        file: "attention",
        defines: &defines(op.q.dtype(), dim),
        kernel: "attention",
        blocks: shape.blocks(tile, shape.heads),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![op.q, op.k, op.v, op.out, op.lse, Struct(shape)],
    })
}

pub(crate) fn attention_backward(gpu: &Cuda, op: AttentionBackward<'_, Cuda>) -> Result<()> {
    let AttentionBackward {
        forward,
        dout,
        delta,
        dq,
        dk,
        dv,
    } = op;
    let Attention {
        q, k, v, out, lse, ..
    } = forward;
    let shape = Heads::of(&forward)?;
    let rows = delta.len() as u64;
    gpu.launch(Launch {
        file: "attention_delta",
        defines: &[("ACT", float(q.dtype()))],
        kernel: "attention_delta",
        blocks: rows.div_ceil(8),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![out, dout, delta, rows, shape.dim],
    })?;
    let (dim, width, tile) = shape.tile();
    let defines = defines(q.dtype(), dim);
    // Five tiles of f32 rows, each one element longer than the widest head.
    let shared_bytes = 5 * tile * (width + 1) * 4;
    gpu.launch(Launch {
        file: "attention_backward",
        defines: &defines,
        kernel: "attention_dq",
        blocks: shape.blocks(tile, shape.heads),
        threads: 256,
        shared_bytes,
        arguments: arguments![q, k, v, dout, lse, delta, dq, Struct(shape)],
    })?;
    gpu.launch(Launch {
        file: "attention_backward",
        defines: &defines,
        kernel: "attention_dk_dv",
        blocks: shape.blocks(tile, shape.kv_heads),
        threads: 256,
        shared_bytes,
        arguments: arguments![q, k, v, dout, lse, delta, dk, dv, Struct(shape)],
    })
}
