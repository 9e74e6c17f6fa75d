//! A frozen linear layer with a low-rank adapter (Hu et al., "LoRA", arXiv 2106.09685):
//! `y = x W^T + bias + scale * (dropout(x) A^T) B^T`.

use super::{linear, result, scratch};
use crate::{
    Backend, DType, Dropout, Error, Linear, LinearBackward, LoraDown, LoraGrad, LoraTerm, LoraTermBackward,
    MemoryKind, Result, Side, Tensor, Weight,
};

const OP: &str = "lora_linear";

/// An adapter's matrices and settings.
pub struct LoraMatrices<'a, B: Backend> {
    /// `[r, K]` f32.
    pub a: &'a Tensor<B>,
    /// `[N, r]` f32.
    pub b: &'a Tensor<B>,
    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)` for rsLoRA.
    pub scale: f32,
    /// On the branch's input.
    pub dropout: Option<Dropout>,
}

/// `y = x W^T + bias + scale * (dropout(x) A^T) B^T`: x `[M, K]` act, y `[M, N]` of x's type. Returns y and
/// `scale * dropout(x) A^T` (`[M, r]` f32), which backward takes.
///
/// # Errors
/// See [`crate::ops`].
pub fn lora_linear<B: Backend>(
    x: &Tensor<B>,
    weight: &Weight<B>,
    bias: Option<&Tensor<B>>,
    lora: &LoraMatrices<'_, B>,
) -> Result<(Tensor<B>, Tensor<B>)> {
    linear::check(x, weight, bias)?;
    let rank = check(weight, lora)?;
    let backend = x.backend();
    let xa = Tensor::empty(backend, &[x.leading(), rank], DType::F32, MemoryKind::Activations)?;
    let LoraMatrices { a, b, scale, dropout } = *lora;
    backend.lora_down(LoraDown {
        x,
        matrix: a,
        side: Side::A,
        scale,
        dropout,
        out: &xa,
    })?;
    let y = result(backend, &[x.leading(), weight.shape()[0]], x.dtype())?;
    backend.linear(Linear {
        x,
        weight,
        bias,
        lora: Some(LoraTerm { xa: &xa, b }),
        y: &y,
    })?;
    Ok((y, xa))
}

/// The gradients of [`lora_linear`]: adds A's to `grad_a` (`[r, K]` f32) and B's to `grad_b` (`[N, r]` f32), and
/// returns dx (`[M, K]`) where `needs_dx`.
///
/// # Errors
/// See [`crate::ops`].
#[expect(
    clippy::too_many_arguments,
    reason = "forward's arguments, its saved product, and what backward adds"
)]
pub fn lora_linear_backward<B: Backend>(
    x: &Tensor<B>,
    weight: &Weight<B>,
    lora: &LoraMatrices<'_, B>,
    xa: &Tensor<B>,
    dy: &Tensor<B>,
    grad_a: &Tensor<B>,
    grad_b: &Tensor<B>,
    needs_dx: bool,
) -> Result<Option<Tensor<B>>> {
    linear::check(x, weight, None)?;
    linear::check_backward(dy, weight)?;
    let rank = check(weight, lora)?;
    xa.expect_shape(OP, "xa", &[x.leading(), rank])?;
    dy.expect_shape(OP, "dy", &[x.leading(), weight.shape()[0]])?;
    for (argument, grad, of) in [("grad_a", grad_a, lora.a), ("grad_b", grad_b, lora.b)] {
        grad.expect_shape(OP, argument, of.shape())?;
        grad.expect_dtype(OP, argument, &[DType::F32], "f32")?;
    }
    let backend = x.backend();
    let LoraMatrices { a, b, scale, dropout } = *lora;
    let dyb = scratch(backend, &[x.leading(), rank])?;
    backend.lora_down(LoraDown {
        x: dy,
        matrix: b,
        side: Side::B,
        scale,
        dropout: None,
        out: &dyb,
    })?;
    backend.lora_grad(LoraGrad {
        thin: &dyb,
        wide: x,
        side: Side::A,
        dropout,
        grad: grad_a,
    })?;
    backend.lora_grad(LoraGrad {
        thin: xa,
        wide: dy,
        side: Side::B,
        dropout: None,
        grad: grad_b,
    })?;
    if !needs_dx {
        return Ok(None);
    }
    let dx = result(backend, x.shape(), x.dtype())?;
    let lora = Some(LoraTermBackward {
        dyb: &dyb,
        a,
        dropout,
    });
    backend.linear_backward(LinearBackward {
        dy,
        weight,
        lora,
        dx: &dx,
    })?;
    Ok(Some(dx))
}

/// Checks the matrices against the weight and returns the rank.
fn check<B: Backend>(weight: &Weight<B>, lora: &LoraMatrices<'_, B>) -> Result<usize> {
    let [n, k] = weight.shape();
    lora.a.expect_rank(OP, "a", &["r", "K"])?;
    let rank = lora.a.shape()[0];
    lora.a.expect_shape(OP, "a", &[rank, k])?;
    lora.b.expect_shape(OP, "b", &[n, rank])?;
    lora.a.expect_dtype(OP, "a", &[DType::F32], "f32")?;
    lora.b.expect_dtype(OP, "b", &[DType::F32], "f32")?;
    if let Some(Dropout { p, .. }) = lora.dropout.filter(|dropout| !(0.0..1.0).contains(&dropout.p)) {
        return Err(Error::Argument {
            op: OP,
            what: format!("dropout should be from 0 to below 1, found {p}"),
        });
    }
    Ok(rank)
}
