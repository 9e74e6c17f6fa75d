use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, activation};

/// `y = x / sqrt(mean(x^2) + eps) * w`: x, y `[M, H]`, w `[H]`.
pub fn rms_norm<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 1>, eps: f32) -> Tensor<B, 2> {
    let rms = (x.clone() * x.clone()).mean_dim(1).add_scalar(eps).sqrt();
    x / rms * weight.unsqueeze()
}

/// `silu(gate) * up`, all `[M, I]`.
pub fn swiglu<B: Backend>(gate: Tensor<B, 2>, up: Tensor<B, 2>) -> Tensor<B, 2> {
    activation::sigmoid(gate.clone()) * gate * up
}
