use anylora_engine::{Result, Tensor};
use anylora_shaders::params;

use super::pointwise::{width, windows};
use crate::Wgpu;
use crate::context::Launch;

/// Up to this many vectors, 64 invocations a row are enough.
const SHORT: usize = 512;

pub(crate) fn rms_norm(
    gpu: &Wgpu,
    x: &Tensor<Wgpu>,
    weight: &Tensor<Wgpu>,
    eps: f32,
    y: &Tensor<Wgpu>,
) -> Result<()> {
    launch(gpu, "forward", weight, eps, &[("x", x), ("y", y)])
}

pub(crate) fn rms_norm_backward(
    gpu: &Wgpu,
    x: &Tensor<Wgpu>,
    weight: &Tensor<Wgpu>,
    eps: f32,
    dy: &Tensor<Wgpu>,
    dx: &Tensor<Wgpu>,
) -> Result<()> {
    launch(gpu, "backward", weight, eps, &[("x", x), ("dy", dy), ("dx", dx)])
}

/// One workgroup a row of `tensors`, which have x's shape and type.
fn launch(
    gpu: &Wgpu,
    entry: &str,
    weight: &Tensor<Wgpu>,
    eps: f32,
    tensors: &[(&str, &Tensor<Wgpu>)],
) -> Result<()> {
    let Some((_, x)) = tensors.first() else {
        return Ok(());
    };
    let (rows, columns) = (x.leading() as u64, x.columns());
    let row_bytes = (columns * x.dtype().size()) as u64;
    let (width, width_name) = width(&[columns]);
    let threads = if columns / width <= SHORT { "64" } else { "256" };
    for window in windows(gpu, "rms_norm", rows, &[row_bytes])? {
        let rows = window.end - window.start;
        let mut bindings = vec![("weight", gpu.bind(weight))];
        let bind = |tensor| gpu.bind_rows(tensor, window.clone(), row_bytes);
        bindings.extend(tensors.iter().map(|(name, tensor)| (*name, bind(tensor))));
        gpu.launch(&Launch {
            kernel: "rms_norm",
            defines: &[
                ("ACT", gpu.act(x.dtype())),
                ("WIDTH", width_name),
                ("THREADS", threads),
                ("REDUCE", gpu.reduce()),
            ],
            entry,
            params: bytemuck::bytes_of(&params::RmsNorm {
                rows: rows as u32,
                width: (columns / width) as u32,
                columns: columns as u32,
                eps,
            }),
            bindings: &bindings,
            workgroups: gpu.spread(rows),
        })?;
    }
    Ok(())
}
