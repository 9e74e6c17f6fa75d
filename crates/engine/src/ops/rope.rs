use super::result;
use crate::{Backend, DType, Error, Result, Tensor};

/// Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864) in the half-split layout of Hugging Face
/// checkpoints; `inverse` rotates back, which is the gradient. See [`Backend::rope`] for the formula.
/// x `[M, H, D]` act; positions `[M]` u32; table `[P, R]` f32, cosines then sines, R even and at most D.
///
/// # Errors
/// See [`crate::ops`].
pub fn rope<B: Backend>(
    x: &Tensor<B>,
    positions: &Tensor<B>,
    table: &Tensor<B>,
    inverse: bool,
) -> Result<Tensor<B>> {
    const OP: &str = "rope";
    x.expect_rank(OP, "x", &["M", "H", "D"])?;
    x.expect_activation(OP, "x")?;
    positions.expect_shape(OP, "positions", &[x.shape()[0]])?;
    positions.expect_dtype(OP, "positions", &[DType::U32], "u32")?;
    table.expect_rank(OP, "table", &["P", "R"])?;
    table.expect_dtype(OP, "table", &[DType::F32], "f32")?;
    let (rotary, head) = (table.columns(), x.columns());
    if rotary % 2 != 0 || rotary > head {
        let what = format!("the table's width should be even and at most {head}, found {rotary}");
        return Err(Error::Argument { op: OP, what });
    }
    let out = result(x.backend(), x.shape(), x.dtype())?;
    x.backend().rope(x, positions, table, inverse, &out)?;
    Ok(out)
}
