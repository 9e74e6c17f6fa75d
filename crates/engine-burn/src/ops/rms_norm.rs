use anylora_engine::{Result, Tensor};
use burn::tensor::backend::Backend;

use crate::{Burn, parallel, view};

const OP: &str = "rms_norm";

pub(crate) fn rms_norm<B: Backend>(
    x: &Tensor<Burn<B>>,
    weight: &Tensor<Burn<B>>,
    eps: f32,
    y: &Tensor<Burn<B>>,
) -> Result<()> {
    let columns = x.columns();
    let (x, weight): (&[f32], &[f32]) = (&view::floats(OP, x)?, &view::floats(OP, weight)?);
    let mut out = vec![0.0; x.len()];
    parallel::rows(&mut out, columns, |row, out| {
        let x = &x[row * columns..(row + 1) * columns];
        let rstd = rstd(x, eps);
        for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
            *out = x * rstd * weight;
        }
    });
    view::write(OP, y, out)
}

pub(crate) fn rms_norm_backward<B: Backend>(
    x: &Tensor<Burn<B>>,
    weight: &Tensor<Burn<B>>,
    eps: f32,
    dy: &Tensor<Burn<B>>,
    dx: &Tensor<Burn<B>>,
) -> Result<()> {
    let columns = x.columns();
    let (x, weight): (&[f32], &[f32]) = (&view::floats(OP, x)?, &view::floats(OP, weight)?);
    let dy: &[f32] = &view::floats(OP, dy)?;
    let mut out = vec![0.0; x.len()];
    parallel::rows(&mut out, columns, |row, out| {
        let row = row * columns..(row + 1) * columns;
        let (x, dy) = (&x[row.clone()], &dy[row]);
        let rstd = rstd(x, eps);
        for ((out, dy), weight) in out.iter_mut().zip(dy).zip(weight) {
            *out = dy * weight;
        }
        let shared = rstd * rstd * parallel::dot(out, x) / columns as f32;
        for (out, x) in out.iter_mut().zip(x) {
            *out = rstd * (*out - x * shared);
        }
    });
    view::write(OP, dx, out)
}

/// `1 / sqrt(mean(x^2) + eps)`.
fn rstd(x: &[f32], eps: f32) -> f32 {
    1.0 / (parallel::dot(x, x) / x.len() as f32 + eps).sqrt()
}
