use anylora_engine::{Backend, Result};

use crate::{Forward, FrozenLinear};

/// The gated feed-forward part (Shazeer, "GLU variants improve transformer", arXiv 2002.05202):
/// `y = down(silu(gate(x)) * up(x))`.
pub struct Mlp<B: Backend> {
    /// `[I, H]`.
    pub gate_proj: FrozenLinear<B>,
    /// `[I, H]`.
    pub up_proj: FrozenLinear<B>,
    /// `[H, I]`.
    pub down_proj: FrozenLinear<B>,
}

impl<B: Backend> Clone for Mlp<B> {
    fn clone(&self) -> Self {
        Self {
            gate_proj: self.gate_proj.clone(),
            up_proj: self.up_proj.clone(),
            down_proj: self.down_proj.clone(),
        }
    }
}

impl<B: Backend> Mlp<B> {
    /// x `[M, H]` act to the same.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward<F: Forward<B>>(&self, f: &mut F, x: F::Value) -> Result<F::Value> {
        let gate = self.gate_proj.forward(f, &x)?;
        let up = self.up_proj.forward(f, &x)?;
        drop(x);
        let hidden = f.swiglu(gate, up)?;
        self.down_proj.forward(f, &hidden)
    }
}
