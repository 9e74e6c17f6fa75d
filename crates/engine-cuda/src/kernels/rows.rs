//! A block a row: embedding, RMSNorm, RoPE.

use anylora_engine::{Result, Tensor, Weight};

use super::packed;
use crate::Cuda;
use crate::launch::{Launch, arguments, count, float};

pub(crate) fn embedding(
    gpu: &Cuda,
    ids: &Tensor<Cuda>,
    table: &Weight<Cuda>,
    out: &Tensor<Cuda>,
) -> Result<()> {
    const OP: &str = "embedding";
    let Weight::Dense(table) = table else {
        return Err(packed(OP, "a table that is packed"));
    };
    let (vocab, hidden) = (count(OP, table.leading())?, count(OP, table.columns())?);
    gpu.launch(Launch {
        file: "embedding",
        defines: &[("TABLE", float(table.dtype())), ("ACT", float(out.dtype()))],
        kernel: "embedding",
        blocks: ids.len() as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![ids, table, out, vocab, hidden],
    })
}

pub(crate) fn rms_norm(
    gpu: &Cuda,
    x: &Tensor<Cuda>,
    weight: &Tensor<Cuda>,
    eps: f32,
    y: &Tensor<Cuda>,
) -> Result<()> {
    let columns = count("rms_norm", x.columns())?;
    gpu.launch(Launch {
        file: "rms_norm",
        defines: &[("ACT", float(x.dtype()))],
        kernel: "rms_norm",
        blocks: x.leading() as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![x, weight, y, columns, eps],
    })
}

pub(crate) fn rms_norm_backward(
    gpu: &Cuda,
    x: &Tensor<Cuda>,
    weight: &Tensor<Cuda>,
    eps: f32,
    dy: &Tensor<Cuda>,
    dx: &Tensor<Cuda>,
) -> Result<()> {
    let columns = count("rms_norm", x.columns())?;
    gpu.launch(Launch {
        file: "rms_norm",
        defines: &[("ACT", float(x.dtype()))],
        kernel: "rms_norm_backward",
        blocks: x.leading() as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![x, weight, dy, dx, columns, eps],
    })
}

pub(crate) fn rope(
    gpu: &Cuda,
    x: &Tensor<Cuda>,
    positions: &Tensor<Cuda>,
    table: &Tensor<Cuda>,
    inverse: bool,
    out: &Tensor<Cuda>,
) -> Result<()> {
    const OP: &str = "rope";
    let (places, rotary) = (count(OP, table.leading())?, count(OP, table.columns())?);
    let (width, dim) = (count(OP, x.shape()[1] * x.columns())?, count(OP, x.columns())?);
    let sign = if inverse { -1f32 } else { 1.0 };
    gpu.launch(Launch {
        file: "rope",
        defines: &[("ACT", float(x.dtype()))],
        kernel: "rope",
        blocks: positions.len() as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![x, positions, table, out, places, rotary, width, dim, sign],
    })
}
