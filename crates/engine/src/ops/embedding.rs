use super::result;
use crate::{Backend, DType, Error, Result, Tensor, Weight};

/// `out[m, :] = table[ids[m], :]`: ids `[M]` u32, table `[V, H]` in any format but 4 bits, out `[M, H]` of type `dtype`.
/// An id past the table gives NaN, which the loss then shows.
///
/// # Errors
/// See [`crate::ops`].
pub fn embedding<B: Backend>(ids: &Tensor<B>, table: &Weight<B>, dtype: DType) -> Result<Tensor<B>> {
    const OP: &str = "embedding";
    ids.expect_rank(OP, "ids", &["M"])?;
    ids.expect_dtype(OP, "ids", &[DType::U32], "u32")?;
    match table {
        Weight::Dense(table) => {
            table.expect_rank(OP, "table", &["V", "H"])?;
            table.expect_dtype(
                OP,
                "table",
                &[DType::F32, DType::F16, DType::BF16],
                "f32, f16 or bf16",
            )?;
        }
        Weight::Ggml(_) => super::linear::check_weight(OP, table)?,
        Weight::Nf4(_) => {
            let what = "a table in 4 bits: none is read by its rows".to_owned();
            return Err(Error::Argument { op: OP, what });
        }
    }
    let out = result(ids.backend(), &[ids.len(), table.shape()[1]], dtype)?;
    out.expect_activation(OP, "out")?;
    ids.backend().embedding(ids, table, &out)?;
    Ok(out)
}
