use super::result;
use crate::{Backend, DType, Result, Tensor};

const OP: &str = "rms_norm";

/// Root mean square normalization of each row (Zhang and Sennrich, arXiv 1910.07467):
/// `y = x / sqrt(mean(x^2) + eps) * w`, x and y `[M, H]` act, w `[H]` f32.
///
/// # Errors
/// See [`crate::ops`].
pub fn rms_norm<B: Backend>(x: &Tensor<B>, weight: &Tensor<B>, eps: f32) -> Result<Tensor<B>> {
    check(x, weight)?;
    let y = result(x.backend(), x.shape(), x.dtype())?;
    x.backend().rms_norm(x, weight, eps, &y)?;
    Ok(y)
}

/// The gradient of [`rms_norm`] in x; the weight is frozen. dy and dx `[M, H]` act.
///
/// # Errors
/// See [`crate::ops`].
pub fn rms_norm_backward<B: Backend>(
    x: &Tensor<B>,
    weight: &Tensor<B>,
    eps: f32,
    dy: &Tensor<B>,
) -> Result<Tensor<B>> {
    check(x, weight)?;
    dy.expect_shape(OP, "dy", x.shape())?;
    dy.expect_dtype(OP, "dy", &[x.dtype()], "of x's type")?;
    let dx = result(x.backend(), x.shape(), x.dtype())?;
    x.backend().rms_norm_backward(x, weight, eps, dy, &dx)?;
    Ok(dx)
}

fn check<B: Backend>(x: &Tensor<B>, weight: &Tensor<B>) -> Result<()> {
    x.expect_rank(OP, "x", &["M", "H"])?;
    x.expect_activation(OP, "x")?;
    weight.expect_shape(OP, "weight", &[x.columns()])?;
    weight.expect_dtype(OP, "weight", &[DType::F32], "f32")
}
