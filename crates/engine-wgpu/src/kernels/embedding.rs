use anylora_engine::{Error, Result, Tensor, Weight};
use anylora_shaders::params;

use super::elementwise::name;
use super::pointwise::{NAN, THREADS, width, windows};
use crate::Wgpu;
use crate::context::Launch;

pub(crate) fn embedding(
    gpu: &Wgpu,
    ids: &Tensor<Wgpu>,
    table: &Weight<Wgpu>,
    out: &Tensor<Wgpu>,
) -> Result<()> {
    const OP: &str = "embedding";
    let Weight::Dense(table) = table else {
        return Err(Error::Unsupported {
            op: OP,
            what: "a table that is packed".to_owned(),
            engine: "wgpu".to_owned(),
        });
    };
    let (rows, vocab, columns) = (ids.len() as u64, table.leading() as u64, out.columns());
    let row_bytes = (columns * out.dtype().size()) as u64;
    let table_bytes = (columns * table.dtype().size()) as u64;
    let (width, width_name) = width(&[columns]);
    for part in windows(gpu, OP, vocab, &[table_bytes])? {
        for window in windows(gpu, OP, rows, &[row_bytes, 4])? {
            let rows = window.end - window.start;
            gpu.launch(&Launch {
                kernel: OP,
                defines: &[
                    ("TABLE", name(table.dtype())),
                    ("ACT", gpu.act(out.dtype())),
                    ("WIDTH", width_name),
                ],
                entry: OP,
                params: bytemuck::bytes_of(&params::Embedding {
                    rows: rows as u32,
                    width: (columns / width) as u32,
                    first: part.start as u32,
                    last: part.end as u32,
                    past: vocab as u32,
                    nan: NAN,
                }),
                bindings: &[
                    ("ids", gpu.bind_rows(ids, window.clone(), 4)),
                    ("table", gpu.bind_rows(table, part.clone(), table_bytes)),
                    ("out", gpu.bind_rows(out, window, row_bytes)),
                ],
                workgroups: gpu.spread((rows * (columns / width) as u64).div_ceil(THREADS)),
            })?;
        }
    }
    Ok(())
}
