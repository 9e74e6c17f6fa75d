use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// The numbers of [`anylora_engine::AdamW`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWSettings {
    /// From 1.
    pub step: u32,
    /// The learning rate.
    pub lr: f32,
    /// The decay of the first and of the second moment.
    pub betas: (f32, f32),
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled decay.
    pub weight_decay: f32,
    /// On the gradient.
    pub grad_scale: f32,
}

/// One AdamW step on `[param, grad, m, v]` of one shape; returns the new `[param, m, v]`.
/// The formula is that of [`anylora_engine::AdamW`].
pub fn adamw<B: Backend, const D: usize>(
    [param, grad, m, v]: [Tensor<B, D>; 4],
    settings: &AdamWSettings,
) -> [Tensor<B, D>; 3] {
    let AdamWSettings {
        step,
        lr,
        betas: (b1, b2),
        eps,
        weight_decay,
        grad_scale,
    } = *settings;
    let grad = grad.mul_scalar(grad_scale);
    let m = m.mul_scalar(b1) + grad.clone().mul_scalar(1.0 - b1);
    let v = v.mul_scalar(b2) + (grad.clone() * grad).mul_scalar(1.0 - b2);
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step));
    let denominator = v.clone().sqrt().div_scalar(correction(b2).sqrt()).add_scalar(eps);
    let update = (m.clone() / denominator).mul_scalar(f64::from(lr) / correction(b1));
    [param.mul_scalar(1.0 - lr * weight_decay) - update, m, v]
}

/// `sum(x^2)`, `[1]`.
pub fn sum_squares<B: Backend, const D: usize>(x: Tensor<B, D>) -> Tensor<B, 1> {
    (x.clone() * x).sum()
}
