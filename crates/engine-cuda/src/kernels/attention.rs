use anylora_engine::{Attention, AttentionBackward, DType, Result, Tensor};
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

    /// Which kernels, by what they are called with.
    fn plan(&self, tensors: &[&Tensor<Cuda>]) -> Plan {
        let dtype = tensors[0].dtype();
        let vectors = |tensor: &&Tensor<Cuda>| address(tensor).0.is_multiple_of(16);
        let matrices = dtype != DType::F32
            && self.dim <= 128
            && self.dim.is_multiple_of(8)
            && tensors.iter().all(vectors);
        let (dim, width, tile) = match self.dim {
            0..=64 => ("64", 64, 32),
            65..=128 => ("128", 128, 32),
            _ => ("256", 256, 16),
        };
        let defines = [("ACT", float(dtype)), ("DIM", dim)];
        if matrices {
            // Two tiles of 64 rows and two of 32 columns in 16 bits, each row 8 elements longer than the widest head.
            Plan {
                files: ["attention_mma", "attention_mma_backward"],
                kernels: ["attention_mma_dq", "attention_mma_dk_dv"],
                defines,
                threads: 128,
                tile: 64,
                shared_bytes: 2 * (64 + 32) * (width + 8) * 2,
            }
        } else {
            // Five tiles of f32 rows, each one element longer than the widest head.
            Plan {
                files: ["attention", "attention_backward"],
                kernels: ["attention_dq", "attention_dk_dv"],
                defines,
                threads: 256,
                tile,
                shared_bytes: 5 * tile * (width + 1) * 4,
            }
        }
    }

    /// Blocks for tiles of each of `heads` heads.
    fn blocks(&self, tile: u32, heads: u32) -> u64 {
        u64::from(self.time.div_ceil(tile)) * u64::from(self.batch) * u64::from(heads)
    }
}

/// The kernels of a call.
struct Plan {
    /// Forward, which has a kernel of its name, and backward.
    files: [&'static str; 2],
    /// Of backward: for dq, and for dk and dv.
    kernels: [&'static str; 2],
    defines: [(&'static str, &'static str); 2],
    threads: u32,
    /// Tokens that a block has.
    tile: u32,
    /// What backward's tiles take.
    shared_bytes: u32,
}

pub(crate) fn attention(gpu: &Cuda, op: Attention<'_, Cuda>) -> Result<()> {
    let shape = Heads::of(&op)?;
    let plan = shape.plan(&[op.q, op.k, op.v, op.out]);
    gpu.launch(Launch {
        file: plan.files[0],
        defines: &plan.defines,
        kernel: plan.files[0],
        blocks: shape.blocks(plan.tile, shape.heads),
        threads: plan.threads,
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
    let plan = shape.plan(&[q, k, v, dout, dq, dk, dv]);
    gpu.launch(Launch {
        file: plan.files[1],
        defines: &plan.defines,
        kernel: plan.kernels[0],
        blocks: shape.blocks(plan.tile, shape.heads),
        threads: plan.threads,
        shared_bytes: plan.shared_bytes,
        arguments: arguments![q, k, v, dout, lse, delta, dq, Struct(shape)],
    })?;
    gpu.launch(Launch {
        file: plan.files[1],
        defines: &plan.defines,
        kernel: plan.kernels[1],
        blocks: shape.blocks(plan.tile, shape.kv_heads),
        threads: plan.threads,
        shared_bytes: plan.shared_bytes,
        arguments: arguments![q, k, v, dout, lse, delta, dk, dv, Struct(shape)],
    })
}
