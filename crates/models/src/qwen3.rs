//! Qwen 3: Yang et al., "Qwen3 technical report", arXiv 2505.09388. Llama's block with RMSNorm over each query and key
//! head, and a head_dim of its own.

use anylora_checkpoint::ModelConfig;

use crate::Architecture;

/// Query and key norms; biases on the attention's projections as config.json says.
pub(crate) fn architecture(config: &ModelConfig) -> Architecture {
    Architecture {
        qkv_bias: config.attention_bias,
        o_bias: config.attention_bias,
        mlp_bias: false,
        qk_norm: true,
    }
}
