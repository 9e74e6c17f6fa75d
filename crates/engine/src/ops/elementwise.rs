use super::result;
use crate::{Backend, DType, Result, Tensor};

/// `a + b`, of one shape, act.
///
/// # Errors
/// See [`crate::ops`].
pub fn add<B: Backend>(a: &Tensor<B>, b: &Tensor<B>) -> Result<Tensor<B>> {
    check_add(a, b)?;
    let out = result(a.backend(), a.shape(), a.dtype())?;
    a.backend().add(a, b, &out)?;
    Ok(out)
}

/// `a += b`, of one shape, act.
///
/// # Errors
/// See [`crate::ops`].
pub fn add_assign<B: Backend>(a: &Tensor<B>, b: &Tensor<B>) -> Result<()> {
    check_add(a, b)?;
    a.backend().add(a, b, a)
}

fn check_add<B: Backend>(a: &Tensor<B>, b: &Tensor<B>) -> Result<()> {
    a.expect_activation("add", "a")?;
    b.expect_shape("add", "b", a.shape())?;
    b.expect_dtype("add", "b", &[a.dtype()], "of a's type")
}

/// `x *= factor`, act.
///
/// # Errors
/// See [`crate::ops`].
pub fn scale<B: Backend>(x: &Tensor<B>, factor: f32) -> Result<()> {
    x.expect_activation("scale", "x")?;
    x.backend().scale(x, factor)
}

/// Every element of x (f32, f16, bf16, u32 or i32) becomes `value`.
///
/// # Errors
/// See [`crate::ops`].
pub fn fill<B: Backend>(x: &Tensor<B>, value: f32) -> Result<()> {
    match x.dtype() {
        DType::F32 | DType::U32 | DType::I32 => {}
        _ => x.expect_activation("fill", "x")?,
    }
    x.backend().fill(x, value)
}

/// x (f32, f16 or bf16) in another type: f32, or f16 or bf16 where the device has it. Rounds to nearest even.
///
/// # Errors
/// See [`crate::ops`].
pub fn cast<B: Backend>(x: &Tensor<B>, dtype: DType) -> Result<Tensor<B>> {
    x.expect_dtype(
        "cast",
        "x",
        &[DType::F32, DType::F16, DType::BF16],
        "f32, f16 or bf16",
    )?;
    let out = result(x.backend(), x.shape(), dtype)?;
    out.expect_activation("cast", "out")?;
    x.backend().cast(x, &out)?;
    Ok(out)
}

/// A copy of x, any type.
///
/// # Errors
/// See [`crate::ops`].
pub fn copy<B: Backend>(x: &Tensor<B>) -> Result<Tensor<B>> {
    let out = result(x.backend(), x.shape(), x.dtype())?;
    x.backend().copy(x, &out)?;
    Ok(out)
}
