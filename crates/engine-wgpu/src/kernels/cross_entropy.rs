//! `shaders/cross_entropy.wgsl`.

use anylora_engine::{Backend, Result, Tensor, row_windows};
use anylora_shaders::params;

use crate::Wgpu;
use crate::context::Launch;

pub(crate) fn cross_entropy(
    gpu: &Wgpu,
    logits: &Tensor<Wgpu>,
    labels: &Tensor<Wgpu>,
    grad_scale: Option<f32>,
    stats: &Tensor<Wgpu>,
    column: usize,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    let vocab = logits.columns();
    let row_bytes = (vocab * size_of::<f32>()) as u64;
    let (vec, cells) = if vocab.is_multiple_of(4) {
        ("4", vocab / 4)
    } else {
        ("1", vocab)
    };
    for window in row_windows(OP, logits.leading() as u64, &[row_bytes], gpu.caps())? {
        let params = params::CrossEntropy {
            rows: (window.end - window.start) as u32,
            cells: cells as u32,
            first: window.start as u32,
            place: column as u32 + window.start as u32,
            width: stats.columns() as u32,
            gradient: u32::from(grad_scale.is_some()),
            grad_scale: grad_scale.unwrap_or(0.0),
            nan: f32::NAN,
        };
        gpu.launch(&Launch {
            kernel: OP,
            defines: &[("WIDTH", vec), ("REDUCE", gpu.reduce())],
            entry: "main",
            params: bytemuck::bytes_of(&params),
            bindings: &[
                ("logits", gpu.bind_rows(logits, window.clone(), row_bytes)),
                ("labels", gpu.bind(labels)),
                ("stats", gpu.bind(stats)),
            ],
            workgroups: gpu.spread(window.end - window.start),
        })?;
    }
    Ok(())
}
