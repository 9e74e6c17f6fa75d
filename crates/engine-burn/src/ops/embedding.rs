use anylora_engine::{DType, Result, Tensor};
use burn::tensor::backend::Backend;

use super::expand::widen;
use crate::{Burn, parallel, view};

const OP: &str = "embedding";

pub(crate) fn embedding<B: Backend>(
    ids: &Tensor<Burn<B>>,
    table: &Tensor<Burn<B>>,
    out: &Tensor<Burn<B>>,
) -> Result<()> {
    let (rows, columns) = (table.leading(), table.columns());
    let mut values = vec![f32::NAN; ids.len() * columns];
    let ids = view::integers::<B, u32>(OP, ids)?;
    let within = |row: usize| Some(ids[row] as usize).filter(|&id| id < rows);
    if table.dtype() == DType::F32 {
        let table = view::floats(OP, table)?;
        parallel::rows(&mut values, columns, |row, out| {
            if let Some(id) = within(row) {
                out.copy_from_slice(&table[id * columns..(id + 1) * columns]);
            }
        });
    } else {
        let (bytes, start) = view::bytes(OP, table)?;
        let row_bytes = columns * table.dtype().size();
        for (row, out) in values.chunks_mut(columns).enumerate() {
            if let Some(id) = within(row) {
                let from = start + id * row_bytes;
                widen(table.dtype(), &bytes[from..from + row_bytes], out)?;
            }
        }
    }
    view::write(OP, out, values)
}
