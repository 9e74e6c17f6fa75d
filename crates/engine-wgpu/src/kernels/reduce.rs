//! `shaders/reduce.wgsl`.

use anylora_engine::{Backend, Result, Tensor, row_windows};
use anylora_shaders::params;

use crate::Wgpu;
use crate::context::{Bind, Launch};

const OP: &str = "reduce";
/// Parts of a row are bound from the alignment below them on.
const ALIGN: u64 = 256;

pub(crate) fn reduce(
    gpu: &Wgpu,
    x: &Tensor<Wgpu>,
    square: bool,
    chunk: usize,
    out: &Tensor<Wgpu>,
    column: usize,
) -> Result<()> {
    let (rows, columns) = (x.leading(), x.columns());
    let whole = params::Reduce {
        rows: rows as u32,
        columns: columns as u32,
        chunk: chunk as u32,
        start: 0,
        width: out.columns() as u32,
        place: column as u32,
        square: u32::from(square),
    };
    if x.size_bytes() as u64 <= gpu.caps().max_binding_bytes {
        return launch(gpu, gpu.bind(x), out, &whole);
    }
    // Row by row, as many chunks as fit one binding that begins up to one alignment before them.
    let chunk_bytes = (chunk * size_of::<f32>()) as u64;
    let caps = anylora_engine::Caps {
        max_binding_bytes: gpu.caps().max_binding_bytes.saturating_sub(ALIGN),
        binding_alignment: 1,
        ..*gpu.caps()
    };
    let windows = row_windows(OP, columns.div_ceil(chunk) as u64, &[chunk_bytes], &caps)?;
    for row in 0..rows {
        for window in &windows {
            let first = window.start as usize * chunk;
            let part = columns.min(window.end as usize * chunk) - first;
            let start = ((row * columns + first) * size_of::<f32>()) as u64;
            let end = start + (part * size_of::<f32>()) as u64;
            let bound = gpu.bind_rows(x, start / ALIGN..end.div_ceil(ALIGN), ALIGN);
            let params = params::Reduce {
                rows: 1,
                columns: part as u32,
                start: (start % ALIGN) as u32 / size_of::<f32>() as u32,
                place: (row * out.columns() + column) as u32 + window.start as u32,
                ..whole
            };
            launch(gpu, bound, out, &params)?;
        }
    }
    Ok(())
}

fn launch(gpu: &Wgpu, x: Bind, out: &Tensor<Wgpu>, params: &params::Reduce) -> Result<()> {
    let chunks = u64::from(params.columns.div_ceil(params.chunk));
    gpu.launch(&Launch {
        kernel: OP,
        defines: &[("REDUCE", gpu.reduce())],
        entry: "main",
        params: bytemuck::bytes_of(params),
        bindings: &[("x", x), ("out", gpu.bind(out))],
        workgroups: gpu.spread(u64::from(params.rows) * chunks),
    })
}
