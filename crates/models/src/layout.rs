//! The tensors of a model: their names, as Hugging Face checkpoints have them, and their shapes.

use anylora_checkpoint::ModelConfig;
use anylora_nn::Projection;

use crate::{Architecture, Result, registry};

/// What a tensor is to the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The embedding `[V, H]`, never quantized.
    Embedding,
    /// A linear layer's matrix `[N, K]`, which quantization packs.
    Linear,
    /// The untied head `[V, H]`, never quantized.
    Head,
    /// A norm's weight or a bias, kept in f32.
    Vector,
}

/// A tensor that the model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
}

/// All tensors of a model, block by block.
///
/// # Errors
/// Those of [`registry::architecture`].
pub fn layout(config: &ModelConfig) -> Result<Vec<TensorSpec>> {
    let architecture = registry::architecture(config)?;
    let table = vec![config.vocab_size, config.hidden_size];
    let spec = |name: &str, shape: Vec<usize>, role| TensorSpec {
        name: name.to_owned(),
        shape,
        role,
    };
    let mut specs = vec![spec("model.embed_tokens.weight", table.clone(), Role::Embedding)];
    for layer in 0..config.num_hidden_layers {
        block(config, architecture, layer, &mut specs);
    }
    specs.push(spec("model.norm.weight", vec![config.hidden_size], Role::Vector));
    if !config.tie_word_embeddings {
        specs.push(spec("lm_head.weight", table, Role::Head));
    }
    Ok(specs)
}

fn block(config: &ModelConfig, architecture: Architecture, layer: usize, specs: &mut Vec<TensorSpec>) {
    let mut vector = |name: &str, len: usize| {
        specs.push(TensorSpec {
            name: format!("model.layers.{layer}.{name}.weight"),
            shape: vec![len],
            role: Role::Vector,
        });
    };
    vector("input_layernorm", config.hidden_size);
    vector("post_attention_layernorm", config.hidden_size);
    if architecture.qk_norm {
        vector("self_attn.q_norm", config.head_dim);
        vector("self_attn.k_norm", config.head_dim);
    }
    for projection in Projection::ALL {
        let module = projection.module(layer);
        let [n, k] = shape(config, projection);
        specs.push(TensorSpec {
            name: format!("{module}.weight"),
            shape: vec![n, k],
            role: Role::Linear,
        });
        if has_bias(architecture, projection) {
            specs.push(TensorSpec {
                name: format!("{module}.bias"),
                shape: vec![n],
                role: Role::Vector,
            });
        }
    }
}

/// The shape `[N, K]` of a linear layer.
pub(crate) fn shape(config: &ModelConfig, projection: Projection) -> [usize; 2] {
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let (q, kv) = config.attention_widths();
    match projection {
        Projection::Q => [q, hidden],
        Projection::K | Projection::V => [kv, hidden],
        Projection::O => [hidden, q],
        Projection::Gate | Projection::Up => [inner, hidden],
        Projection::Down => [hidden, inner],
    }
}

/// Whether a linear layer has a bias.
pub(crate) const fn has_bias(architecture: Architecture, projection: Projection) -> bool {
    match projection {
        Projection::Q | Projection::K | Projection::V => architecture.qkv_bias,
        Projection::O => architecture.o_bias,
        Projection::Gate | Projection::Up | Projection::Down => architecture.mlp_bias,
    }
}
