use anylora_engine::{Backend, Result, Tensor, Weight};

use crate::{Forward, LoraAdapter};

/// The linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention's output.
    O,
    /// The MLP's gate.
    Gate,
    /// The MLP's other input half.
    Up,
    /// The MLP's output.
    Down,
}

impl Projection {
    /// All of them, in the order of a block's forward.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The name within a block, as in Hugging Face checkpoints: `self_attn.q_proj`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The module's name in the model, by which adapters attach: `model.layers.0.self_attn.q_proj`.
    pub fn module(self, layer: usize) -> String {
        format!("model.layers.{layer}.{}", self.name())
    }
}

/// A frozen linear layer, with a LoRA adapter where one is attached:
/// `y = x W^T + bias + scale * (dropout(x) A^T) B^T`.
pub struct FrozenLinear<B: Backend> {
    /// `[N, K]`, any format.
    pub weight: Weight<B>,
    /// `[N]` f32.
    pub bias: Option<Tensor<B>>,
    /// The adapter.
    pub lora: Option<LoraAdapter<B>>,
}

impl<B: Backend> Clone for FrozenLinear<B> {
    fn clone(&self) -> Self {
        Self {
            weight: self.weight.clone(),
            bias: self.bias.clone(),
            lora: self.lora.clone(),
        }
    }
}

impl<B: Backend> FrozenLinear<B> {
    /// A layer without an adapter.
    pub const fn new(weight: Weight<B>, bias: Option<Tensor<B>>) -> Self {
        Self {
            weight,
            bias,
            lora: None,
        }
    }

    /// x `[M, K]` act to `[M, N]` of x's type.
    ///
    /// # Errors
    /// See [`anylora_engine::ops`].
    pub fn forward<F: Forward<B>>(&self, f: &mut F, x: &F::Value) -> Result<F::Value> {
        f.linear(x, &self.weight, self.bias.as_ref(), self.lora.as_ref())
    }

    /// Bytes of the frozen part on the device.
    pub fn size_bytes(&self) -> usize {
        self.weight.size_bytes() + self.bias.as_ref().map_or(0, Tensor::size_bytes)
    }
}
