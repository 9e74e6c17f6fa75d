use super::result;
use crate::{Backend, DType, Result, Tensor};

/// `out[m, :] = table[ids[m], :]`: ids `[M]` u32, table `[V, H]` f32, f16 or bf16, out `[M, H]` of type `dtype`.
/// An id past the table gives NaN, which the loss then shows.
///
/// # Errors
/// See [`crate::ops`].
pub fn embedding<B: Backend>(ids: &Tensor<B>, table: &Tensor<B>, dtype: DType) -> Result<Tensor<B>> {
    const OP: &str = "embedding";
    ids.expect_rank(OP, "ids", &["M"])?;
    ids.expect_dtype(OP, "ids", &[DType::U32], "u32")?;
    table.expect_rank(OP, "table", &["V", "H"])?;
    table.expect_dtype(
        OP,
        "table",
        &[DType::F32, DType::F16, DType::BF16],
        "f32, f16 or bf16",
    )?;
    let out = result(ids.backend(), &[ids.len(), table.columns()], dtype)?;
    out.expect_activation(OP, "out")?;
    ids.backend().embedding(ids, table, &out)?;
    Ok(out)
}
