//! Qwen 2 and 2.5: Yang et al., "Qwen2 technical report", arXiv 2407.10671. Llama's block with biases on q, k and v.

use anylora_checkpoint::ModelConfig;

use crate::Architecture;

/// Biases on q, k and v always.
pub(crate) fn architecture(_config: &ModelConfig) -> Architecture {
    Architecture {
        qkv_bias: true,
        ..Architecture::default()
    }
}
