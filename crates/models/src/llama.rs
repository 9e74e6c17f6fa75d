//! Llama: Touvron et al., "LLaMA", arXiv 2302.13971; Grattafiori et al., "The Llama 3 herd of models", arXiv 2407.21783.
//! SmolLM2, TinyLlama and many others are of this family.

use anylora_checkpoint::ModelConfig;

use crate::Architecture;

/// Biases as config.json says; none in the published models.
pub(crate) fn architecture(config: &ModelConfig) -> Architecture {
    Architecture {
        qkv_bias: config.attention_bias,
        o_bias: config.attention_bias,
        mlp_bias: config.mlp_bias,
        qk_norm: false,
    }
}
