use anylora_engine::ops::LoraMatrices;
use anylora_engine::{Backend, DType, Dropout, Lora, MemoryKind, Result, Tensor};

/// The low-rank adapter of one linear layer (Hu et al., "LoRA", arXiv 2106.09685):
/// `y += scale * (dropout(x) A^T) B^T`. A clone is the same memory.
pub struct LoraAdapter<B: Backend> {
    /// `[r, K]` f32.
    pub a: Tensor<B>,
    /// `[N, r]` f32.
    pub b: Tensor<B>,
    /// The gradients of A and B where they are trained, of their shapes, f32. Backward adds to them.
    pub grads: Option<[Tensor<B>; 2]>,
    /// `lora_alpha / r`, or `lora_alpha / sqrt(r)` for rsLoRA.
    pub scale: f32,
    /// On the branch's input, in training.
    pub dropout: Option<Dropout>,
}

impl<B: Backend> Clone for LoraAdapter<B> {
    fn clone(&self) -> Self {
        Self {
            a: self.a.clone(),
            b: self.b.clone(),
            grads: self.grads.clone(),
            scale: self.scale,
            dropout: self.dropout,
        }
    }
}

impl<B: Backend> LoraAdapter<B> {
    /// An adapter with A `[r, k]` and B `[n, r]` in row-major order; `trained` adds gradient buffers, without a value
    /// until they are filled.
    ///
    /// # Errors
    /// [`anylora_engine::Error::Argument`] where the sizes differ, [`anylora_engine::Error::OutOfMemory`].
    pub fn new(
        backend: &B,
        [rank, n, k]: [usize; 3],
        (a, b): (&[f32], &[f32]),
        scale: f32,
        trained: bool,
    ) -> Result<Self> {
        let matrix = |shape: &[usize], values| Tensor::from_f32(backend, shape, MemoryKind::Adapter, values);
        let grad = |shape: &[usize]| Tensor::empty(backend, shape, DType::F32, MemoryKind::Gradients);
        Ok(Self {
            a: matrix(&[rank, k], a)?,
            b: matrix(&[n, rank], b)?,
            grads: trained
                .then(|| Ok([grad(&[rank, k])?, grad(&[n, rank])?]))
                .transpose()?,
            scale,
            dropout: None,
        })
    }

    /// The rank r.
    pub fn rank(&self) -> usize {
        self.a.shape()[0]
    }

    /// Trained parameters: `r (K + N)`.
    pub fn parameters(&self) -> usize {
        self.a.len() + self.b.len()
    }

    /// What the engine's forward takes.
    pub fn matrices(&self) -> LoraMatrices<'_, B> {
        LoraMatrices {
            a: &self.a,
            b: &self.b,
            scale: self.scale,
            dropout: self.dropout,
        }
    }

    /// What the tape takes, or None without gradient buffers.
    pub fn trained(&self) -> Option<Lora<B>> {
        let [grad_a, grad_b] = self.grads.clone()?;
        Some(Lora {
            a: self.a.clone(),
            b: self.b.clone(),
            grad_a,
            grad_b,
            scale: self.scale,
            dropout: self.dropout,
        })
    }
}
