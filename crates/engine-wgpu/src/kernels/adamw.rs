//! `shaders/adamw.wgsl`.

use anylora_engine::{AdamW, Backend, Result, row_windows};
use anylora_shaders::params;

use crate::Wgpu;
use crate::context::Launch;

/// Windows begin on multiples of this: the alignment of a binding.
const ELEMENTS: usize = 64;
/// What an invocation steps, times invocations.
const WORKGROUP: u64 = 4 * 256;

pub(crate) fn adamw(gpu: &Wgpu, op: AdamW<'_, Wgpu>) -> Result<()> {
    const OP: &str = "adamw";
    let length = op.param.len();
    let bytes = (ELEMENTS * size_of::<f32>()) as u64;
    for window in row_windows(OP, length.div_ceil(ELEMENTS) as u64, &[bytes], gpu.caps())? {
        let bind = |tensor| gpu.bind_rows(tensor, window.clone(), bytes);
        let length = length.min(window.end as usize * ELEMENTS) - window.start as usize * ELEMENTS;
        gpu.launch(&Launch {
            kernel: OP,
            defines: &[],
            entry: "main",
            params: bytemuck::bytes_of(&factors(&op, length)),
            bindings: &[
                ("param", bind(op.param)),
                ("grad", bind(op.grad)),
                ("m", bind(op.m)),
                ("v", bind(op.v)),
            ],
            workgroups: gpu.spread((length as u64).div_ceil(WORKGROUP)),
        })?;
    }
    Ok(())
}

/// Powers and differences near 1 lose digits in f32: they are taken in f64.
fn factors(op: &AdamW<'_, Wgpu>, length: usize) -> params::Adamw {
    let (beta1, beta2) = (f64::from(op.betas.0), f64::from(op.betas.1));
    let correction = |beta: f64| 1.0 - beta.powf(f64::from(op.step));
    params::Adamw {
        length: length as u32,
        grad_scale: op.grad_scale,
        beta1: op.betas.0,
        rest1: (1.0 - beta1) as f32,
        beta2: op.betas.1,
        rest2: (1.0 - beta2) as f32,
        keep: (1.0 - f64::from(op.lr) * f64::from(op.weight_decay)) as f32,
        rate: (f64::from(op.lr) / correction(beta1)) as f32,
        root: (1.0 / correction(beta2).sqrt()) as f32,
        eps: op.eps,
    }
}
