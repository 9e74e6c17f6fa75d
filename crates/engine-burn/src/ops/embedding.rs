use anylora_engine::{DType, Error, Result, Tensor, Weight};
use burn::tensor::backend::Backend;

use super::weight::{expand_row, widen};
use crate::{Burn, parallel, view};

const OP: &str = "embedding";

pub(crate) fn embedding<B: Backend>(
    ids: &Tensor<Burn<B>>,
    table: &Weight<Burn<B>>,
    out: &Tensor<Burn<B>>,
) -> Result<()> {
    let [rows, columns] = table.shape();
    let mut values = vec![f32::NAN; ids.len() * columns];
    let ids = view::integers::<B, u32>(OP, ids)?;
    let within = |row: usize| Some(ids[row] as usize).filter(|&id| id < rows);
    match table {
        Weight::Dense(table) if table.dtype() == DType::F32 => {
            let table: &[f32] = &view::floats(OP, table)?;
            parallel::rows(&mut values, columns, |row, out| {
                if let Some(id) = within(row) {
                    out.copy_from_slice(&table[id * columns..(id + 1) * columns]);
                }
            });
        }
        Weight::Dense(table) => {
            let (bytes, start) = view::bytes(OP, table)?;
            let row_bytes = columns * table.dtype().size();
            for (row, out) in values.chunks_mut(columns).enumerate() {
                if let Some(id) = within(row) {
                    let from = start + id * row_bytes;
                    widen(table.dtype(), &bytes[from..from + row_bytes], out)?;
                }
            }
        }
        Weight::Ggml(table) => {
            for (row, out) in values.chunks_mut(columns).enumerate() {
                if let Some(id) = within(row) {
                    expand_row(table, id, out)?;
                }
            }
        }
        Weight::Nf4(_) => {
            return Err(Error::Unsupported {
                op: OP,
                what: "a table in 4 bits".to_owned(),
                engine: "burn".to_owned(),
            });
        }
    }
    view::write(OP, out, values)
}
