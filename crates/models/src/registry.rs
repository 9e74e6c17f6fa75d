//! The families by `model_type`.

use anylora_checkpoint::ModelConfig;

use crate::architecture::check_common;
use crate::{Architecture, ModelError, Result, llama, mistral, qwen2, qwen3};

/// How a family's block follows from its config.
type Family = fn(&ModelConfig) -> Architecture;

/// Every family, in the order in which messages name them.
const FAMILIES: [(&str, Family); 4] = [
    ("llama", llama::architecture),
    ("mistral", mistral::architecture),
    ("qwen2", qwen2::architecture),
    ("qwen3", qwen3::architecture),
];

/// The `model_type`s that are supported.
pub fn supported() -> Vec<&'static str> {
    FAMILIES.iter().map(|(name, _)| *name).collect()
}

/// The architecture of a checkpoint's family.
///
/// # Errors
/// [`ModelError::UnknownFamily`] with the supported names; [`ModelError::UnsupportedConfig`].
pub fn architecture(config: &ModelConfig) -> Result<Architecture> {
    let family = FAMILIES.iter().find(|(name, _)| *name == config.model_type);
    let Some((_, family)) = family else {
        return Err(ModelError::UnknownFamily {
            supported: supported(),
            found: config.model_type.clone(),
        });
    };
    check_common(config)?;
    Ok(family(config))
}
