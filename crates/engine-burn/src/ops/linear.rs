use anylora_engine::{Linear, LinearBackward, Result};
use burn::tensor::backend::Backend;

use super::dropout::drop_row;
use super::few;
use super::weight::with_weight;
use crate::product::{Left, Product};
use crate::rows::{Dense, F32, WithRows};
use crate::{Burn, parallel, view};

const OP: &str = "linear";

pub(crate) fn linear<B: Backend>(op: Linear<'_, Burn<B>>) -> Result<()> {
    if few::linear(&op)? {
        return Ok(());
    }
    let (rows, [n, k]) = (op.x.leading(), op.weight.shape());
    let x = view::floats(OP, op.x)?;
    let mut y = vec![0.0; rows * n];
    let product = Product {
        shape: [rows, n, k],
        left: Left::Rows(&x),
        is_transposed: true,
        out: &mut y,
        adds: false,
    };
    with_weight(op.weight, product)?;
    if let Some(lora) = op.lora {
        let rank = lora.b.columns();
        let (xa, b) = (view::floats(OP, lora.xa)?, view::floats(OP, lora.b)?);
        let branch = Product {
            shape: [rows, n, rank],
            left: Left::Rows(&xa),
            is_transposed: true,
            out: &mut y,
            adds: true,
        };
        branch.with(&Dense::<F32>::new(bytemuck::cast_slice(&b), rank));
    }
    if let Some(bias) = op.bias {
        let bias: &[f32] = &view::floats(OP, bias)?;
        parallel::rows(&mut y, n, |_, y| parallel::add_scaled(y, 1.0, bias));
    }
    view::write(OP, op.y, y)
}

pub(crate) fn linear_backward<B: Backend>(op: LinearBackward<'_, Burn<B>>) -> Result<()> {
    let (rows, [n, k]) = (op.dy.leading(), op.weight.shape());
    let dy = view::floats(OP, op.dy)?;
    let mut dx = vec![0.0; rows * k];
    let product = Product {
        shape: [rows, k, n],
        left: Left::Rows(&dy),
        is_transposed: false,
        out: &mut dx,
        adds: false,
    };
    with_weight(op.weight, product)?;
    if let Some(lora) = op.lora {
        let rank = lora.a.leading();
        let (dyb, a) = (view::floats(OP, lora.dyb)?, view::floats(OP, lora.a)?);
        let mut dropped = vec![0.0; if lora.dropout.is_some() { rows * k } else { 0 }];
        let branch = Product {
            shape: [rows, k, rank],
            left: Left::Rows(&dyb),
            is_transposed: false,
            adds: lora.dropout.is_none(),
            out: if lora.dropout.is_some() {
                &mut dropped
            } else {
                &mut dx
            },
        };
        branch.with(&Dense::<F32>::new(bytemuck::cast_slice(&a), k));
        if let Some(dropout) = lora.dropout {
            parallel::rows2((&mut dx, k), (&mut dropped, k), |row, dx, branch| {
                drop_row(&dropout, row, branch);
                parallel::add_scaled(dx, 1.0, branch);
            });
        }
    }
    view::write(OP, op.dx, dx)
}
