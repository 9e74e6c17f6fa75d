use anylora_engine::{Result, Tensor};
use burn::tensor::backend::Backend;

use crate::simd::{Exp, Level, Max, SumExp};
use crate::{Burn, parallel, view};

const OP: &str = "cross_entropy";

/// A label that doesn't count.
const IGNORED: i32 = -100;

pub(crate) fn cross_entropy<B: Backend>(
    logits: &Tensor<Burn<B>>,
    labels: &Tensor<Burn<B>>,
    grad_scale: Option<f32>,
    stats: &Tensor<Burn<B>>,
    column: usize,
) -> Result<()> {
    let (rows, columns) = (logits.leading(), logits.columns());
    let labels = view::integers::<B, i32>(OP, labels)?;
    // `[nll, count]` a row.
    let mut found = vec![0.0; rows * 2];
    if let Some(grad_scale) = grad_scale {
        view::update(OP, logits, |logits| {
            parallel::rows2((logits, columns), (&mut found, 2), |row, logits, found| {
                found.copy_from_slice(&gradient(logits, labels[row], grad_scale));
            });
        })?;
    } else {
        let logits: &[f32] = &view::floats(OP, logits)?;
        parallel::tasks(&mut found, 2, |row, found| {
            let logits = &logits[row * columns..(row + 1) * columns];
            found.copy_from_slice(&row_loss(logits, labels[row]));
        });
    }
    let width = stats.columns();
    view::write_some(OP, stats, |stats| {
        for (row, found) in found.chunks(2).enumerate() {
            stats[column + row] = found[0];
            stats[width + column + row] = found[1];
        }
    })
}

/// `[nll, count]` of a row.
fn row_loss(logits: &[f32], label: i32) -> [f32; 2] {
    if label == IGNORED {
        return [0.0; 2];
    }
    let level = Level::detect();
    let shift = level.run(Max(logits));
    let sum = level.run(SumExp {
        values: logits,
        shift,
    });
    [
        target(logits, label).map_or(f32::NAN, |target| sum.ln() + shift - logits[target]),
        1.0,
    ]
}

/// `[nll, count]` of a row, whose logits become their gradient.
fn gradient(logits: &mut [f32], label: i32, grad_scale: f32) -> [f32; 2] {
    if label == IGNORED {
        logits.fill(0.0);
        return [0.0; 2];
    }
    let Some(target) = target(logits, label) else {
        logits.fill(f32::NAN);
        return [f32::NAN, 1.0];
    };
    let level = Level::detect();
    let (shift, logit) = (level.run(Max(logits)), logits[target]);
    let sum = level.run(Exp {
        values: logits,
        scale: 1.0,
        shift,
    });
    let factor = grad_scale / sum;
    logits.iter_mut().for_each(|value| *value *= factor);
    logits[target] -= grad_scale;
    [sum.ln() + shift - logit, 1.0]
}

fn target(logits: &[f32], label: i32) -> Option<usize> {
    usize::try_from(label).ok().filter(|label| *label < logits.len())
}
