use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, activation};

use super::linear;

/// `out[m, :] = table[ids[m], :]`: ids `[M]` within the table, table `[V, H]`, out `[M, H]`.
pub fn embedding<B: Backend>(ids: Tensor<B, 1, Int>, table: Tensor<B, 2>) -> Tensor<B, 2> {
    table.select(0, ids)
}

/// `nll[m] = lse(logits[m]) - logits[m, labels[m]]`, and 0 where the label is -100.
/// logits `[M, V]`, labels and nll `[M]`; the other labels lie within `0..V`.
pub fn cross_entropy<B: Backend>(logits: Tensor<B, 2>, labels: Tensor<B, 1, Int>) -> Tensor<B, 1> {
    let counted = labels.clone().not_equal_elem(-100).float();
    let labels = labels.clamp_min(0).unsqueeze_dim(1);
    let log_probability = activation::log_softmax(logits, 1)
        .gather(1, labels)
        .squeeze_dim::<1>(1);
    log_probability.neg() * counted
}

/// The sum of [`cross_entropy`] of `x W^T`, `[1]`: x `[M, H]`, W `[V, H]`, labels `[M]`.
pub fn head_loss<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
) -> Tensor<B, 1> {
    cross_entropy(linear(x, weight, None), labels).sum()
}
