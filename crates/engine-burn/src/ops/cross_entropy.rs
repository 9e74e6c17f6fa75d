use anylora_engine::{Result, Tensor};
use burn::tensor::backend::Backend;

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
                let [nll, count, lse] = row_loss(logits, labels[row]);
                found.copy_from_slice(&[nll, count]);
                gradient(logits, labels[row], lse, grad_scale);
            });
        })?;
    } else {
        let logits = view::floats(OP, logits)?;
        parallel::tasks(&mut found, 2, |row, found| {
            let [nll, count, _] = row_loss(&logits[row * columns..(row + 1) * columns], labels[row]);
            found.copy_from_slice(&[nll, count]);
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

/// `[nll, count, lse]` of a row.
fn row_loss(logits: &[f32], label: i32) -> [f32; 3] {
    if label == IGNORED {
        return [0.0; 3];
    }
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let lse = parallel::sum_of(logits.len(), |i| (logits[i] - max).exp()).ln() + max;
    let target = usize::try_from(label).ok().and_then(|label| logits.get(label));
    [target.map_or(f32::NAN, |target| lse - target), 1.0, lse]
}

fn gradient(logits: &mut [f32], label: i32, lse: f32, grad_scale: f32) {
    if label == IGNORED {
        return logits.fill(0.0);
    }
    for value in logits.iter_mut() {
        *value = (*value - lse).exp() * grad_scale;
    }
    match usize::try_from(label)
        .ok()
        .and_then(|label| logits.get_mut(label))
    {
        Some(target) => *target -= grad_scale,
        None => logits.fill(f32::NAN),
    }
}
