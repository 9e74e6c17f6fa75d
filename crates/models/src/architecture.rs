//! What tells one family's blocks from another's.

use anylora_checkpoint::ModelConfig;

use crate::{ModelError, Result};

/// The parts of a block that not every family has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Architecture {
    /// Biases on q_proj, k_proj and v_proj.
    pub qkv_bias: bool,
    /// A bias on o_proj.
    pub o_bias: bool,
    /// Biases on the MLP's projections.
    pub mlp_bias: bool,
    /// RMSNorm over each query and key head.
    pub qk_norm: bool,
}

/// Refuses what no family here does: another activation than SiLU, partly rotated heads.
pub(crate) fn check_common(config: &ModelConfig) -> Result<()> {
    if !matches!(config.hidden_act.as_str(), "silu" | "swish") {
        return Err(ModelError::UnsupportedConfig {
            field: "hidden_act",
            expected: "\"silu\"".to_owned(),
            found: format!("{:?}", config.hidden_act),
        });
    }
    if config.rope.partial_rotary_factor != 1.0 {
        return Err(ModelError::UnsupportedConfig {
            field: "partial_rotary_factor",
            expected: "1, whole heads rotated".to_owned(),
            found: config.rope.partial_rotary_factor.to_string(),
        });
    }
    Ok(())
}
