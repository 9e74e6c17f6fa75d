use anylora_engine::Dropout;
use anylora_quant::Quantized4;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::floats;

/// `y = x W^T + bias`: x `[M, K]`, W `[N, K]`, bias `[N]`, y `[M, N]`.
pub fn linear<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>, bias: Option<Tensor<B, 1>>) -> Tensor<B, 2> {
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// `y = x W^T + bias + scale * ((mask * x) A^T) B^T`: x and mask `[M, K]`, W `[N, K]`, A `[r, K]`, B `[N, r]`.
pub fn lora_linear<B: Backend>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    bias: Option<Tensor<B, 1>>,
    [a, b]: [Tensor<B, 2>; 2],
    scale: f32,
    mask: Option<Tensor<B, 2>>,
) -> Tensor<B, 2> {
    let dropped = match mask {
        Some(mask) => x.clone() * mask,
        None => x.clone(),
    };
    let branch = dropped
        .matmul(a.transpose())
        .matmul(b.transpose())
        .mul_scalar(scale);
    linear(x, weight, bias) + branch
}

/// The factors of [`Dropout`], `[rows, columns]`: 0 or `1 / (1 - p)`.
pub fn dropout_mask<B: Backend>(
    dropout: &Dropout,
    [rows, columns]: [usize; 2],
    device: &B::Device,
) -> Tensor<B, 2> {
    floats(&dropout.mask(rows, columns), [rows, columns], device)
}

/// A 4-bit weight as a dense `[N, K]`.
pub fn quantized<B: Backend>(weight: &Quantized4, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    floats(&weight.dequantize(), shape, device)
}
