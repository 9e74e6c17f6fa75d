//! LoRA adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

mod config;
mod gguf;
mod patterns;
mod target_modules;
mod unsupported;
mod weights;

use std::collections::BTreeMap;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

pub use self::config::AdapterConfig;
pub use self::patterns::{BadPattern, Patterns};
pub use self::target_modules::TargetModules;
pub use self::weights::LoraWeights;
use crate::{FloatType, Problems, Result};

const WEIGHTS: &str = "adapter_model.safetensors";

/// A LoRA adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Rank, scaling, targets.
    pub config: AdapterConfig,
    /// A and B by the adapted module's name, `model.layers.0.self_attn.q_proj`.
    pub modules: BTreeMap<String, LoraWeights>,
    /// What the config file sets that has no effect here. Not written.
    pub warnings: Problems,
}

impl Adapter {
    /// An adapter of a config and its weights.
    pub fn new(config: AdapterConfig, modules: BTreeMap<String, LoraWeights>) -> Self {
        Self {
            config,
            modules,
            warnings: Problems::default(),
        }
    }

    /// Opens a folder that PEFT or [`Adapter::write`] made.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NotFound`] where there is no adapter; else as [`Adapter::from_bytes`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path) -> Result<Self> {
        use crate::{CheckpointError, FileBytes};

        for file in [config::CONFIG, WEIGHTS] {
            if !path.join(file).is_file() {
                let is_pickle = file == WEIGHTS && path.join("adapter_model.bin").is_file();
                return Err(CheckpointError::NotFound {
                    path: path.into(),
                    expected: format!("a folder with {} and {WEIGHTS}", config::CONFIG),
                    found: if is_pickle {
                        "adapter_model.bin".into()
                    } else {
                        format!("no {file}")
                    },
                    hint: if is_pickle {
                        "save it again with PEFT's `model.save_pretrained(FOLDER)`, which writes safetensors"
                            .into()
                    } else {
                        format!("ls {}", path.display())
                    },
                });
            }
        }
        let config = path.join(config::CONFIG);
        let config = std::fs::read(&config).map_err(CheckpointError::io(&config))?;
        Self::from_bytes(&config, &FileBytes::map(&path.join(WEIGHTS))?)
    }

    /// An adapter from the bytes of adapter_config.json and adapter_model.safetensors.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Malformed`] with every wrong field, or else every tensor that is left over, missing, or
    /// of a wrong shape; [`crate::CheckpointError::Unsupported`] with every field or tensor type that is not supported.
    pub fn from_bytes(config: &[u8], weights: &[u8]) -> Result<Self> {
        let (config, warnings) = AdapterConfig::from_json(config)?;
        let modules = weights::read(WEIGHTS, weights, &config)?;
        Ok(Self {
            config,
            modules,
            warnings,
        })
    }

    /// Writes the folder in f32, as PEFT does, each file under a temporary name first; a folder that is not there yet
    /// appears with both files.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Io`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn write(&self, path: &Path) -> Result<()> {
        let weights = self.weights_bytes();
        let config = self.config.to_json();
        let files = [(WEIGHTS, weights.as_slice()), (config::CONFIG, config.as_bytes())];
        crate::write::folder(path, &files)
    }

    /// The bytes of adapter_model.safetensors, in f32.
    pub fn weights_bytes(&self) -> Vec<u8> {
        weights::to_bytes(&self.modules)
    }

    /// Parameters in all.
    pub fn parameters(&self) -> usize {
        self.modules
            .values()
            .map(|weights| weights.a.len() + weights.b.len())
            .sum()
    }

    /// The bytes of a GGUF file that llama.cpp's `--lora` takes, for a base model of this config.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Unsupported`] for a family that has no llama.cpp architecture here, and with every
    /// module that has no name there.
    pub fn to_gguf(&self, base: &crate::ModelConfig, dtype: FloatType) -> Result<Vec<u8>> {
        gguf::to_bytes(self, base, dtype)
    }
}
