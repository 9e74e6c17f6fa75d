use anylora_engine::{Dropout, LoraDown, LoraGrad, Result, Side, Tensor};
use burn::tensor::backend::Backend;
use burn::tensor::{DType as BurnType, Tensor as BurnTensor, TensorData};

use super::dropout::dropped;
use super::few;
use crate::storage::into_bytes;
use crate::{Burn, parallel, view};

pub(crate) fn lora_down<B: Backend>(op: LoraDown<'_, Burn<B>>) -> Result<()> {
    const OP: &str = "lora_down";
    if few::lora_down(&op)? {
        return Ok(());
    }
    let LoraDown {
        x,
        matrix,
        side,
        scale,
        dropout,
        out,
    } = op;
    let x = masked(OP, x, dropout)?;
    let matrix = view::matrix(OP, matrix, [matrix.leading(), matrix.columns()])?;
    let matrix = if side == Side::A {
        matrix.transpose()
    } else {
        matrix
    };
    view::write_tensor(OP, out, x.matmul(matrix).mul_scalar(scale))
}

pub(crate) fn lora_grad<B: Backend>(op: LoraGrad<'_, Burn<B>>) -> Result<()> {
    const OP: &str = "lora_grad";
    let LoraGrad {
        thin,
        wide,
        side,
        dropout,
        grad,
    } = op;
    let thin = view::matrix(OP, thin, [thin.leading(), thin.columns()])?;
    let wide = masked(OP, wide, dropout)?;
    let part = match side {
        Side::A => thin.transpose().matmul(wide),
        Side::B => wide.transpose().matmul(thin),
    };
    let part = into_bytes(part)?;
    let part: &[f32] = bytemuck::cast_slice(&part);
    view::update(OP, grad, |grad| {
        parallel::parts(grad, |start, grad| {
            parallel::add_scaled(grad, 1.0, &part[start..start + grad.len()])
        });
    })
}

/// `mask * x`, or x.
fn masked<B: Backend>(
    op: &'static str,
    x: &Tensor<Burn<B>>,
    dropout: Option<Dropout>,
) -> Result<BurnTensor<B, 2>> {
    let shape = [x.leading(), x.columns()];
    let Some(dropout) = dropout else {
        return view::matrix(op, x, shape);
    };
    let values = dropped(&dropout, &view::floats(op, x)?, shape[1]);
    Ok(BurnTensor::from_data(
        TensorData::new(values, shape),
        (x.backend().device(), BurnType::F32),
    ))
}
