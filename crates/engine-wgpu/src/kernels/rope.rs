use anylora_engine::{Result, Tensor};
use anylora_shaders::params;

use super::pointwise::{NAN, THREADS, width, windows};
use crate::Wgpu;
use crate::context::Launch;

pub(crate) fn rope(
    gpu: &Wgpu,
    x: &Tensor<Wgpu>,
    positions: &Tensor<Wgpu>,
    table: &Tensor<Wgpu>,
    inverse: bool,
    out: &Tensor<Wgpu>,
) -> Result<()> {
    const OP: &str = "rope";
    let (rows, heads, dim) = (x.shape()[0] as u64, x.shape()[1], x.columns());
    let row_bytes = (heads * dim * x.dtype().size()) as u64;
    let (places, half) = (table.leading() as u64, table.columns() / 2);
    let place_bytes = table.columns() as u64 * 4;
    let (width, width_name) = width(&[dim, half]);
    let units = heads * (dim - half) / width;
    for part in windows(gpu, OP, places, &[place_bytes])? {
        for window in windows(gpu, OP, rows, &[row_bytes, 4])? {
            let rows = window.end - window.start;
            gpu.launch(&Launch {
                kernel: OP,
                defines: &[("ACT", gpu.act(x.dtype())), ("WIDTH", width_name)],
                entry: OP,
                params: bytemuck::bytes_of(&params::Rope {
                    rows: rows as u32,
                    heads: heads as u32,
                    dim: (dim / width) as u32,
                    half: (half / width) as u32,
                    first: part.start as u32,
                    last: part.end as u32,
                    past: places as u32,
                    sign: if inverse { -1.0 } else { 1.0 },
                    nan: NAN,
                }),
                bindings: &[
                    ("x", gpu.bind_rows(x, window.clone(), row_bytes)),
                    ("positions", gpu.bind_rows(positions, window.clone(), 4)),
                    ("table", gpu.bind_rows(table, part.clone(), place_bytes)),
                    ("out", gpu.bind_rows(out, window, row_bytes)),
                ],
                workgroups: gpu.spread((rows * units as u64).div_ceil(THREADS)),
            })?;
        }
    }
    Ok(())
}
