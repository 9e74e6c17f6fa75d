use anylora_engine::{AdamW, Result, Tensor};

use crate::Cuda;
use crate::launch::{Launch, arguments, count, elementwise};

pub(crate) fn adamw(gpu: &Cuda, op: AdamW<'_, Cuda>) -> Result<()> {
    let AdamW {
        param,
        grad,
        m,
        v,
        step,
        lr,
        betas: (beta1, beta2),
        eps,
        weight_decay,
        grad_scale,
    } = op;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step));
    let rate = (f64::from(lr) / correction(beta1)) as f32;
    let root = (1.0 / correction(beta2).sqrt()) as f32;
    gpu.launch(Launch {
        file: "adamw",
        defines: &[],
        kernel: "adamw",
        blocks: elementwise(param.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![
            param,
            grad,
            m,
            v,
            param.len() as u64,
            grad_scale,
            beta1,
            1.0 - beta1,
            beta2,
            1.0 - beta2,
            1.0 - lr * weight_decay,
            rate,
            root,
            eps
        ],
    })
}

pub(crate) fn reduce(
    gpu: &Cuda,
    x: &Tensor<Cuda>,
    square: bool,
    chunk: usize,
    out: &Tensor<Cuda>,
    column: usize,
) -> Result<()> {
    const OP: &str = "reduce";
    let chunks = x.columns().div_ceil(chunk);
    let square = u32::from(square);
    let (width, column) = (count(OP, out.columns())?, count(OP, column)?);
    gpu.launch(Launch {
        file: "reduce",
        defines: &[],
        kernel: "reduce",
        blocks: (x.leading() * chunks) as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![
            x,
            out,
            x.columns() as u64,
            count(OP, chunk)?,
            count(OP, chunks)?,
            width,
            column,
            square
        ],
    })
}
