use super::result;
use crate::{Backend, DType, Error, Linear, LinearBackward, Result, Tensor, Weight};

const OP: &str = "linear";

/// `y = x W^T + bias`: x `[M, K]` act, W `[N, K]` in any format, bias `[N]` f32, y `[M, N]` of x's type.
///
/// # Errors
/// See [`crate::ops`].
pub fn linear<B: Backend>(x: &Tensor<B>, weight: &Weight<B>, bias: Option<&Tensor<B>>) -> Result<Tensor<B>> {
    check(x, weight, bias)?;
    let y = result(x.backend(), &[x.leading(), weight.shape()[0]], x.dtype())?;
    x.backend().linear(Linear {
        x,
        weight,
        bias,
        lora: None,
        y: &y,
    })?;
    Ok(y)
}

/// The gradient of [`linear`] in x, `dx = dy W`: dy `[M, N]` act, dx `[M, K]` of dy's type. W is frozen.
///
/// # Errors
/// See [`crate::ops`].
pub fn linear_backward<B: Backend>(dy: &Tensor<B>, weight: &Weight<B>) -> Result<Tensor<B>> {
    check_backward(dy, weight)?;
    let dx = result(dy.backend(), &[dy.leading(), weight.shape()[1]], dy.dtype())?;
    dy.backend().linear_backward(LinearBackward {
        dy,
        weight,
        lora: None,
        dx: &dx,
    })?;
    Ok(dx)
}

pub(super) fn check<B: Backend>(x: &Tensor<B>, weight: &Weight<B>, bias: Option<&Tensor<B>>) -> Result<()> {
    let [n, k] = weight.shape();
    x.expect_rank(OP, "x", &["M", "K"])?;
    x.expect_shape(OP, "x", &[x.leading(), k])?;
    x.expect_activation(OP, "x")?;
    if let Some(bias) = bias {
        bias.expect_shape(OP, "bias", &[n])?;
        bias.expect_dtype(OP, "bias", &[DType::F32], "f32")?;
    }
    check_weight(OP, weight)
}

pub(super) fn check_backward<B: Backend>(dy: &Tensor<B>, weight: &Weight<B>) -> Result<()> {
    dy.expect_rank(OP, "dy", &["M", "N"])?;
    dy.expect_shape(OP, "dy", &[dy.leading(), weight.shape()[0]])?;
    dy.expect_activation(OP, "dy")?;
    check_weight(OP, weight)
}

/// Kernels index elements with 32 bits.
pub(super) fn check_weight<B: Backend>(op: &'static str, weight: &Weight<B>) -> Result<()> {
    let [n, k] = weight.shape();
    if n * k == 0 || u32::try_from(n * k).is_err() {
        return Err(Error::Argument {
            op,
            what: format!("a weight [{n}, {k}] has no or too many elements"),
        });
    }
    Ok(())
}
