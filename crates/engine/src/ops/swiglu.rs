use super::result;
use crate::{Backend, Result, Tensor};

const OP: &str = "swiglu";

/// `out = silu(gate) * up` (Shazeer, "GLU variants improve transformer", arXiv 2002.05202), all of one shape, act.
///
/// # Errors
/// See [`crate::ops`].
pub fn swiglu<B: Backend>(gate: &Tensor<B>, up: &Tensor<B>) -> Result<Tensor<B>> {
    check(gate, "up", up)?;
    let out = result(gate.backend(), gate.shape(), gate.dtype())?;
    gate.backend().swiglu(gate, up, &out)?;
    Ok(out)
}

/// The gradients of [`swiglu`]: dgate and dup.
///
/// # Errors
/// See [`crate::ops`].
pub fn swiglu_backward<B: Backend>(
    gate: &Tensor<B>,
    up: &Tensor<B>,
    dy: &Tensor<B>,
) -> Result<[Tensor<B>; 2]> {
    check(gate, "up", up)?;
    check(gate, "dy", dy)?;
    let dgate = result(gate.backend(), gate.shape(), gate.dtype())?;
    let dup = result(gate.backend(), gate.shape(), gate.dtype())?;
    gate.backend().swiglu_backward(gate, up, dy, &dgate, &dup)?;
    Ok([dgate, dup])
}

fn check<B: Backend>(gate: &Tensor<B>, argument: &'static str, other: &Tensor<B>) -> Result<()> {
    gate.expect_activation(OP, "gate")?;
    other.expect_shape(OP, argument, gate.shape())?;
    other.expect_dtype(OP, argument, &[gate.dtype()], "of gate's type")
}
