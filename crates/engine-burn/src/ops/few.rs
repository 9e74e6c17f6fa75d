//! Products of few rows, as generation has them: weights are read as they are stored, once, and values are unpacked in
//! registers.

use std::borrow::Cow;

use anylora_engine::{Linear, LoraDown, Result, Side};
use burn::tensor::backend::Backend;

use super::weight::with_weight;
use crate::rows::{Dense, F32, Products, Rows, WithRows};
use crate::simd::{LANES, Level};
use crate::{Burn, parallel, team, view};

const OP: &str = "linear";

/// From more rows on packing the weight for a matrix product is quicker.
const FEW: usize = 8;

/// Rows of x that share one pass over the weight.
const SHARED: usize = 4;

/// Multiply-adds that make a part of the work, some microseconds.
const PART: usize = 1 << 16;

/// Computes a [`Linear`] of few rows; false where there are more.
pub(super) fn linear<B: Backend>(op: &Linear<'_, Burn<B>>) -> Result<bool> {
    let (m, [n, k]) = (op.x.leading(), op.weight.shape());
    if m > FEW {
        return Ok(false);
    }
    let x = view::floats(OP, op.x)?;
    let bias = op.bias.map(|bias| view::floats(OP, bias)).transpose()?;
    let lora = match op.lora {
        Some(lora) => Some((view::floats(OP, lora.xa)?, view::floats(OP, lora.b)?)),
        None => None,
    };
    let rank = op.lora.map_or(0, |lora| lora.b.columns());
    let finish = |row: usize, column: usize, mut y: f32| {
        if let Some(bias) = &bias {
            y += bias[column];
        }
        if let Some((xa, b)) = &lora {
            let (xa, b) = (&xa[row * rank..][..rank], &b[column * rank..][..rank]);
            y += parallel::dot(xa, b);
        }
        y
    };
    let mut y = vec![0.0; m * n];
    let product = Product {
        x: &x,
        columns: k,
        finish: &finish,
        y: &mut y,
    };
    with_weight(op.weight, product)?;
    view::write(OP, op.y, y)?;
    Ok(true)
}

/// Computes a [`LoraDown`] of few rows with A; false for others.
pub(super) fn lora_down<B: Backend>(op: &LoraDown<'_, Burn<B>>) -> Result<bool> {
    let (m, [r, k]) = (op.x.leading(), [op.matrix.leading(), op.matrix.columns()]);
    if m > FEW || op.side == Side::B || op.dropout.is_some() {
        return Ok(false);
    }
    let (x, a) = (view::floats(OP, op.x)?, view::floats(OP, op.matrix)?);
    let mut y = vec![0.0; m * r];
    let product = Product {
        x: &x,
        columns: k,
        finish: &|_, _, y| op.scale * y,
        y: &mut y,
    };
    product.with(&Dense::<F32>::new(bytemuck::cast_slice(&a), k));
    view::write(OP, op.out, y)?;
    Ok(true)
}

/// `y[m, n] = finish(m, n, sum over k of x[m, k] W[n, k])`.
struct Product<'a, F> {
    /// `[M, K]`.
    x: &'a [f32],
    columns: usize,
    finish: &'a F,
    /// `[M, N]`.
    y: &'a mut [f32],
}

impl<F: Fn(usize, usize, f32) -> f32 + Sync> WithRows for Product<'_, F> {
    type Output = ();

    fn with<R: Rows>(self, rows: &R) {
        let Self {
            x,
            columns,
            finish,
            y,
        } = self;
        let m = x.len() / columns;
        let n = y.len() / m;
        let x = arranged(x, columns, rows.is_paired());
        let x: Vec<&[f32]> = x.chunks(x.len() / m).collect();
        let mut row = 0;
        while row < m {
            let y = &mut y[row * n..];
            if let Some(&shared) = x[row..].first_chunk::<SHARED>() {
                let finish = |i, column, y| finish(row + i, column, y);
                let columns = several(rows, n, shared, &finish);
                for (i, y) in y.chunks_mut(n).take(SHARED).enumerate() {
                    y.iter_mut().zip(&columns).for_each(|(y, column)| *y = column[i]);
                }
                row += SHARED;
            } else {
                one(rows, x[row], &|column, y| finish(row, column, y), &mut y[..n]);
                row += 1;
            }
        }
    }
}

fn one<R: Rows>(rows: &R, x: &[f32], finish: &(impl Fn(usize, f32) -> f32 + Sync), y: &mut [f32]) {
    let y = y.as_chunks_mut::<1>().0;
    let level = Level::detect();
    team::parts(y, part(rows), |first, out| {
        let x = [x];
        level.run(Products {
            rows,
            first,
            x,
            out: &mut *out,
        });
        for (i, [y]) in out.iter_mut().enumerate() {
            *y = finish(first + i, *y);
        }
    });
}

/// `[N, M]`.
fn several<R: Rows, const M: usize>(
    rows: &R,
    n: usize,
    x: [&[f32]; M],
    finish: &(impl Fn(usize, usize, f32) -> f32 + Sync),
) -> Vec<[f32; M]> {
    let mut columns = vec![[0.0; M]; n];
    let level = Level::detect();
    team::parts(&mut columns, part(rows), |first, out| {
        level.run(Products {
            rows,
            first,
            x,
            out: &mut *out,
        });
        for (i, y) in out.iter_mut().enumerate() {
            for (m, y) in y.iter_mut().enumerate() {
                *y = finish(m, first + i, *y);
            }
        }
    });
    columns
}

/// Rows of W a part.
fn part<R: Rows>(rows: &R) -> usize {
    (PART / rows.columns().max(1)).max(1)
}

/// x `[M, K]` in the order of the weight's values, each row with zeros up to a multiple of [`LANES`].
fn arranged(x: &[f32], columns: usize, is_paired: bool) -> Cow<'_, [f32]> {
    if is_paired {
        let pair = |x: &[f32]| -> [f32; 2 * LANES] {
            std::array::from_fn(|i| {
                if i < LANES {
                    x[2 * i]
                } else {
                    x[2 * (i - LANES) + 1]
                }
            })
        };
        return x.chunks_exact(2 * LANES).flat_map(pair).collect();
    }
    if columns.is_multiple_of(LANES) {
        return Cow::Borrowed(x);
    }
    let mut padded = Vec::new();
    for x in x.chunks_exact(columns) {
        padded.extend_from_slice(x);
        padded.resize(padded.len().next_multiple_of(LANES), 0.0);
    }
    Cow::Owned(padded)
}
