use anylora_engine::{Backend, Result, Tensor};

use crate::Forward;

/// Root mean square normalization (Zhang and Sennrich, arXiv 1910.07467): `y = x / sqrt(mean(x^2) + eps) * w`.
pub struct RmsNorm<B: Backend> {
    /// `[H]` f32.
    pub weight: Tensor<B>,
    /// `rms_norm_eps` of config.json.
    pub eps: f32,
}

impl<B: Backend> Clone for RmsNorm<B> {
    fn clone(&self) -> Self {
        Self {
            weight: self.weight.clone(),
            eps: self.eps,
        }
    }
}

impl<B: Backend> RmsNorm<B> {
    /// x `[M, H]` act to the same.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward<F: Forward<B>>(&self, f: &mut F, x: &F::Value) -> Result<F::Value> {
        f.rms_norm(x, &self.weight, self.eps)
    }
}
