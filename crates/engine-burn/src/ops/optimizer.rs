use anylora_engine::{AdamW, Result, Tensor};
use burn::tensor::backend::Backend;

use crate::{Burn, parallel, view};

pub(crate) fn adamw<B: Backend>(op: AdamW<'_, Burn<B>>) -> Result<()> {
    const OP: &str = "adamw";
    let AdamW {
        param,
        grad,
        m,
        v,
        step,
        lr,
        betas: (b1, b2),
        eps,
        weight_decay,
        grad_scale,
    } = op;
    let grad: &[f32] = &view::floats(OP, grad)?;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step));
    let rate = (f64::from(lr) / correction(b1)) as f32;
    let root = (1.0 / correction(b2).sqrt()) as f32;
    let keep = 1.0 - lr * weight_decay;
    view::update(OP, m, |m| {
        parallel::parts(m, |start, m| {
            for (m, g) in m.iter_mut().zip(&grad[start..]) {
                *m = b1 * *m + (1.0 - b1) * (g * grad_scale);
            }
        });
    })?;
    view::update(OP, v, |v| {
        parallel::parts(v, |start, v| {
            for (v, g) in v.iter_mut().zip(&grad[start..]) {
                let g = g * grad_scale;
                *v = b2 * *v + (1.0 - b2) * g * g;
            }
        });
    })?;
    let (m, v): (&[f32], &[f32]) = (&view::floats(OP, m)?, &view::floats(OP, v)?);
    view::update(OP, param, |param| {
        parallel::parts(param, |start, param| {
            for ((p, m), v) in param.iter_mut().zip(&m[start..]).zip(&v[start..]) {
                *p = *p * keep - rate * m / (v.sqrt() * root + eps);
            }
        });
    })
}

pub(crate) fn reduce<B: Backend>(
    x: &Tensor<Burn<B>>,
    square: bool,
    chunk: usize,
    out: &Tensor<Burn<B>>,
    column: usize,
) -> Result<()> {
    const OP: &str = "reduce";
    let (columns, width) = (x.columns(), out.columns());
    let chunks = columns.div_ceil(chunk);
    let x: &[f32] = &view::floats(OP, x)?;
    let mut sums = vec![0.0; x.len() / columns.max(1) * chunks];
    parallel::tasks(&mut sums, 1, |task, sum| {
        let (row, start) = (task / chunks, task % chunks * chunk);
        let x = &x[row * columns + start..row * columns + columns.min(start + chunk)];
        sum[0] = if square {
            parallel::dot(x, x)
        } else {
            parallel::sum(x)
        };
    });
    view::write_some(OP, out, |out| {
        for (out, sums) in out.chunks_mut(width).zip(sums.chunks(chunks)) {
            out[column..column + chunks].copy_from_slice(sums);
        }
    })
}
