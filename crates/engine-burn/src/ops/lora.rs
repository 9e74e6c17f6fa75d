use std::ops::Deref;

use anylora_engine::{Dropout, LoraDown, LoraGrad, Result, Side, Tensor};
use burn::tensor::backend::Backend;

use super::dropout::dropped;
use super::few;
use crate::product::{Left, Product};
use crate::rows::{Dense, F32, WithRows};
use crate::storage::Floats;
use crate::{Burn, view};

pub(crate) fn lora_down<B: Backend>(op: LoraDown<'_, Burn<B>>) -> Result<()> {
    const OP: &str = "lora_down";
    if few::lora_down(&op)? {
        return Ok(());
    }
    let x = Masked::new(OP, op.x, op.dropout)?;
    let (rows, k) = (op.x.leading(), op.x.columns());
    let is_transposed = op.side == Side::A;
    let rank = if is_transposed {
        op.matrix.leading()
    } else {
        op.matrix.columns()
    };
    let matrix = view::floats(OP, op.matrix)?;
    let mut out = vec![0.0; rows * rank];
    let product = Product {
        shape: [rows, rank, k],
        left: Left::Rows(&x),
        is_transposed,
        out: &mut out,
        adds: false,
    };
    product.with(&Dense::<F32>::new(
        bytemuck::cast_slice(&matrix),
        op.matrix.columns(),
    ));
    out.iter_mut().for_each(|out| *out *= op.scale);
    view::write(OP, op.out, out)
}

pub(crate) fn lora_grad<B: Backend>(op: LoraGrad<'_, Burn<B>>) -> Result<()> {
    const OP: &str = "lora_grad";
    let (rows, rank, width) = (op.thin.leading(), op.thin.columns(), op.wide.columns());
    let thin = view::floats(OP, op.thin)?;
    let wide = Masked::new(OP, op.wide, op.dropout)?;
    let (m, n, left, right): (_, _, &[f32], &[f32]) = match op.side {
        Side::A => (rank, width, &thin, &wide),
        Side::B => (width, rank, &wide, &thin),
    };
    view::update(OP, op.grad, |grad| {
        let product = Product {
            shape: [m, n, rows],
            left: Left::Columns(left),
            is_transposed: false,
            out: grad,
            adds: true,
        };
        product.with(&Dense::<F32>::new(bytemuck::cast_slice(right), n));
    })
}

/// `mask * x`, or x.
enum Masked {
    Whole(Floats),
    Dropped(Vec<f32>),
}

impl Masked {
    fn new<B: Backend>(op: &'static str, x: &Tensor<Burn<B>>, dropout: Option<Dropout>) -> Result<Self> {
        let values = view::floats(op, x)?;
        Ok(match dropout {
            Some(dropout) => Self::Dropped(dropped(&dropout, &values, x.columns())),
            None => Self::Whole(values),
        })
    }
}

impl Deref for Masked {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            Self::Whole(values) => values,
            Self::Dropped(values) => values,
        }
    }
}
