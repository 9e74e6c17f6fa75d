use anylora_engine::{Dropout, LoraDown, LoraGrad, Result, Side};
use bytemuck::{Pod, Zeroable};

use crate::Cuda;
use crate::launch::{Launch, Struct, arguments, count, float};

/// `Dropout` of `cuda/shared/philox.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Mask {
    key: [u32; 2],
    step: u32,
    layer: u32,
    threshold: u32,
    keep: f32,
}

impl Mask {
    pub(crate) fn of(dropout: Option<Dropout>) -> Struct<Self> {
        Struct(dropout.map_or_else(Self::zeroed, |dropout| Self {
            key: dropout.key(),
            step: dropout.step,
            layer: dropout.layer,
            threshold: dropout.threshold(),
            keep: dropout.keep_scale(),
        }))
    }
}

/// Where element (rank, column) of an adapter's matrix is: the strides of rank and column.
fn strides(side: Side, rank: u32, columns: u32) -> [u32; 2] {
    match side {
        Side::A => [columns, 1],
        Side::B => [1, rank],
    }
}

/// Rows and ranks of a block of `lora_down`; columns and ranks of one of `lora_grad`.
const DOWN: [u32; 2] = [4, 8];
const GRAD: [u32; 2] = [32, 16];

pub(crate) fn lora_down(gpu: &Cuda, op: LoraDown<'_, Cuda>) -> Result<()> {
    const OP: &str = "lora_down";
    let LoraDown {
        x,
        matrix,
        side,
        scale,
        dropout,
        out,
    } = op;
    let (rows, columns) = (count(OP, x.leading())?, count(OP, x.columns())?);
    let rank = count(OP, out.columns())?;
    let [rank_stride, column_stride] = strides(side, rank, columns);
    let blocks = u64::from(rows.div_ceil(DOWN[0])) * u64::from(rank.div_ceil(DOWN[1]));
    gpu.launch(Launch {
        file: "lora",
        defines: &[("ACT", float(x.dtype()))],
        kernel: "lora_down",
        blocks,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![
            x,
            matrix,
            out,
            rows,
            columns,
            rank,
            rank_stride,
            column_stride,
            scale,
            Mask::of(dropout)
        ],
    })
}

pub(crate) fn lora_grad(gpu: &Cuda, op: LoraGrad<'_, Cuda>) -> Result<()> {
    const OP: &str = "lora_grad";
    let LoraGrad {
        thin,
        wide,
        side,
        dropout,
        grad,
    } = op;
    let (rows, columns) = (count(OP, wide.leading())?, count(OP, wide.columns())?);
    let rank = count(OP, thin.columns())?;
    let [rank_stride, column_stride] = strides(side, rank, columns);
    let blocks = u64::from(columns.div_ceil(GRAD[0])) * u64::from(rank.div_ceil(GRAD[1]));
    gpu.launch(Launch {
        file: "lora",
        defines: &[("ACT", float(wide.dtype()))],
        kernel: "lora_grad",
        blocks,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![
            thin,
            wide,
            grad,
            rows,
            columns,
            rank,
            rank_stride,
            column_stride,
            Mask::of(dropout)
        ],
    })
}
