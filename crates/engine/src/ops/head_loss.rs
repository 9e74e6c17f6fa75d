use super::{result, scratch, sum_rows};
use crate::{Backend, DType, Linear, LinearBackward, MemoryKind, Result, Tensor, Weight};

/// The logits that are alive at once take at most this, or 128 rows where those are more.
const CHUNK_BYTES: usize = 64 << 20;

/// Chunks start at multiples of this many rows, which keeps views aligned for every device.
const CHUNK_ROWS: usize = 128;

/// The result of [`head_loss`].
pub struct HeadLoss<B: Backend> {
    /// `[2]` f32: the sum of the negative log-likelihoods, and how many labels counted.
    pub loss: Tensor<B>,
    /// `[M, H]`, where a gradient was asked for.
    pub dx: Option<Tensor<B>>,
}

/// The language-model head and its loss, at most a chunk of rows x V logits alive:
/// `sum over m of lse(logits[m]) - logits[m, labels[m]]` with `logits = x W^T`, where labels of -100 don't count.
/// x `[M, H]` act, W `[V, H]` in any format, labels `[M]` i32 (shifted already).
///
/// With `grad_scale`, dx becomes the sum's gradient times it (usually one over the trained tokens).
///
/// # Errors
/// See [`crate::ops`].
pub fn head_loss<B: Backend>(
    x: &Tensor<B>,
    weight: &Weight<B>,
    labels: &Tensor<B>,
    grad_scale: Option<f32>,
) -> Result<HeadLoss<B>> {
    const OP: &str = "head_loss";
    super::linear::check(x, weight, None)?;
    let rows = x.leading();
    labels.expect_shape(OP, "labels", &[rows])?;
    labels.expect_dtype(OP, "labels", &[DType::I32], "i32")?;
    let backend = x.backend();
    let vocab = weight.shape()[0];
    let dx = grad_scale
        .map(|_| result(backend, x.shape(), x.dtype()))
        .transpose()?;
    let stats = scratch(backend, &[2, rows])?;
    let chunk = (CHUNK_BYTES / (vocab * 4) / CHUNK_ROWS * CHUNK_ROWS)
        .max(CHUNK_ROWS)
        .min(rows);
    let logits = scratch(backend, &[chunk, vocab])?;
    for start in (0..rows).step_by(chunk) {
        let range = start..rows.min(start + chunk);
        let logits = logits.rows(0..range.len())?;
        let linear = Linear {
            x: &x.rows(range.clone())?,
            weight,
            bias: None,
            lora: None,
            y: &logits,
        };
        backend.linear(linear)?;
        backend.cross_entropy(&logits, &labels.rows(range.clone())?, grad_scale, &stats, start)?;
        if let Some(dx) = &dx {
            let dx = &dx.rows(range)?;
            backend.linear_backward(LinearBackward {
                dy: &logits,
                weight,
                lora: None,
                dx,
            })?;
        }
    }
    drop(logits);
    let sums = sum_rows(stats)?;
    let loss = Tensor::empty(backend, &[2], DType::F32, MemoryKind::Activations)?;
    backend.copy(&sums, &loss)?;
    Ok(HeadLoss { loss, dx })
}
