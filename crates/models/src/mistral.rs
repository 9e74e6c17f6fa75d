//! Mistral: Jiang et al., "Mistral 7B", arXiv 2310.06825. Llama's block with a sliding window and without biases.

use anylora_checkpoint::ModelConfig;

use crate::Architecture;

/// No biases, whatever config.json says.
pub(crate) fn architecture(_config: &ModelConfig) -> Architecture {
    Architecture::default()
}
