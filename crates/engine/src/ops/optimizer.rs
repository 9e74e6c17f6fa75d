use super::{REDUCE_CHUNK, scratch, sum_rows};
use crate::{AdamW, Backend, DType, Error, Result, Tensor};

/// One AdamW step in place; see [`AdamW`] for the formula.
///
/// # Errors
/// See [`crate::ops`].
pub fn adamw<B: Backend>(op: AdamW<'_, B>) -> Result<()> {
    const OP: &str = "adamw";
    for (argument, tensor) in [("param", op.param), ("grad", op.grad), ("m", op.m), ("v", op.v)] {
        tensor.expect_shape(OP, argument, op.param.shape())?;
        tensor.expect_dtype(OP, argument, &[DType::F32], "f32")?;
    }
    if op.step == 0 {
        return Err(Error::Argument {
            op: OP,
            what: "steps count from 1".to_owned(),
        });
    }
    op.param.backend().adamw(op)
}

/// The sum of the squares of all elements of all tensors (f32), as `[1, 1]` f32: the square of the global norm.
///
/// # Errors
/// See [`crate::ops`].
pub fn sum_squares<B: Backend>(tensors: &[&Tensor<B>]) -> Result<Tensor<B>> {
    const OP: &str = "sum_squares";
    let Some(first) = tensors.first() else {
        return Err(Error::Argument {
            op: OP,
            what: "no tensors".to_owned(),
        });
    };
    let chunks: usize = tensors
        .iter()
        .map(|tensor| tensor.len().div_ceil(REDUCE_CHUNK))
        .sum();
    let partials = scratch(first.backend(), &[1, chunks])?;
    let mut column = 0;
    for tensor in tensors {
        tensor.expect_dtype(OP, "tensor", &[DType::F32], "f32")?;
        let flat = tensor.reshape(&[1, tensor.len()])?;
        tensor
            .backend()
            .reduce(&flat, true, REDUCE_CHUNK, &partials, column)?;
        column += tensor.len().div_ceil(REDUCE_CHUNK);
    }
    sum_rows(partials)
}
