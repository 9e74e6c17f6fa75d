use anylora_engine::{Linear, LinearBackward, Result};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::dropout::drop_row;
use super::expand::for_rows;
use super::few;
use crate::storage::into_bytes;
use crate::{Burn, parallel, view};

const OP: &str = "linear";

pub(crate) fn linear<B: Backend>(op: Linear<'_, Burn<B>>) -> Result<()> {
    if few::linear(&op)? {
        return Ok(());
    }
    let Linear {
        x,
        weight,
        bias,
        lora,
        y,
    } = op;
    let (rows, [n, k]) = (x.leading(), weight.shape());
    let x = view::matrix(OP, x, [rows, k])?;
    let bias = bias.map(|bias| view::floats(OP, bias)).transpose()?;
    let lora = match lora {
        Some(lora) => {
            let rank = lora.b.columns();
            Some((
                view::matrix(OP, lora.xa, [rows, rank])?,
                view::matrix(OP, lora.b, [n, rank])?,
            ))
        }
        None => None,
    };
    // y where it is made of several chunks of columns.
    let mut whole = Vec::new();
    for_rows(weight, |columns, chunk| {
        let width = columns.len();
        let product = x.clone().matmul(chunk.clone().transpose());
        if width == n && bias.is_none() && lora.is_none() {
            return view::write_tensor(OP, y, product);
        }
        let branch = match &lora {
            Some((xa, b)) => {
                let rank = b.dims()[1];
                let b = b.clone().slice([columns.clone(), 0..rank]);
                Some(into_bytes(xa.clone().matmul(b.transpose()))?)
            }
            None => None,
        };
        let branch: Option<&[f32]> = branch.as_ref().map(|branch| bytemuck::cast_slice(branch));
        let bias = bias.as_ref().map(|bias| &bias[columns.clone()]);
        let finish = |row: usize, out: &mut [f32]| {
            if let Some(bias) = bias {
                parallel::add_scaled(out, 1.0, bias);
            }
            if let Some(branch) = branch {
                parallel::add_scaled(out, 1.0, &branch[row * width..(row + 1) * width]);
            }
        };
        let mut product = into_bytes(product)?;
        if width == n {
            parallel::rows(bytemuck::cast_slice_mut(&mut product), n, finish);
            return view::write_bytes(OP, y, product);
        }
        whole.resize(rows * n, 0f32);
        let product: &[f32] = bytemuck::cast_slice(&product);
        parallel::rows(&mut whole, n, |row, out| {
            let out = &mut out[columns.clone()];
            out.copy_from_slice(&product[row * width..(row + 1) * width]);
            finish(row, out);
        });
        Ok(())
    })?;
    if whole.is_empty() {
        Ok(())
    } else {
        view::write(OP, y, whole)
    }
}

pub(crate) fn linear_backward<B: Backend>(op: LinearBackward<'_, Burn<B>>) -> Result<()> {
    let LinearBackward { dy, weight, lora, dx } = op;
    let (rows, [n, k]) = (dy.leading(), weight.shape());
    let dy = view::matrix(OP, dy, [rows, n])?;
    let mut sum: Option<Tensor<B, 2>> = None;
    for_rows(weight, |columns, chunk| {
        let part = dy.clone().slice([0..rows, columns]).matmul(chunk.clone());
        sum = Some(match sum.take() {
            Some(sum) => sum + part,
            None => part,
        });
        Ok(())
    })?;
    let Some(sum) = sum else { return Ok(()) };
    let Some(lora) = lora else {
        return view::write_tensor(OP, dx, sum);
    };
    let rank = lora.a.leading();
    let dyb = view::matrix(OP, lora.dyb, [rows, rank])?;
    let branch = dyb.matmul(view::matrix(OP, lora.a, [rank, k])?);
    let Some(dropout) = lora.dropout else {
        return view::write_tensor(OP, dx, sum + branch);
    };
    let (mut sum, mut branch) = (into_bytes(sum)?, into_bytes(branch)?);
    let (values, branch) = (
        bytemuck::cast_slice_mut(&mut sum),
        bytemuck::cast_slice_mut(&mut branch),
    );
    parallel::rows2((values, k), (branch, k), |row, out, branch| {
        drop_row(&dropout, row, branch);
        parallel::add_scaled(out, 1.0, branch);
    });
    view::write_bytes(OP, dx, sum)
}
