//! Makes a model out of tensors that arrive one at a time.
//!
//! Whoever has the tensors pushes them in any order: a checkpoint on disk in a loop ([`Loader::load`]), the browser as
//! its downloads end. Each is put on the device, quantized where that is asked for, before the next is needed: the
//! host holds no more than the tensor in hand.

use std::collections::HashMap;

use anylora_checkpoint::{Checkpoint, FloatType, ModelConfig, StoredTensor, TensorFormat};
use anylora_engine::{Backend, DType, MemoryKind, Tensor, Weight};
use anylora_quant::{BlockSize, Codebook};

use crate::{
    Architecture, Model, ModelError, Result, Role, TensorProblem, TensorSpec, layout, registry, store,
};

/// How linear layers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantization {
    /// NF4 or FP4.
    pub codebook: Codebook,
    /// Values that share a scale.
    pub block_size: BlockSize,
    /// The scales in 8 bits each.
    pub double: bool,
}

impl Quantization {
    /// NF4 in blocks of 64 with double quantization, as in QLoRA (Dettmers et al., arXiv 2305.14314).
    pub fn nf4() -> Self {
        Self {
            codebook: Codebook::Nf4,
            block_size: BlockSize::default(),
            double: true,
        }
    }
}

/// How a model is put on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    /// Packs the linear layers of blocks that are not packed already. Embedding, norms and head stay.
    pub quantization: Option<Quantization>,
    /// Rounds dense weights to this type: linear layers that are not packed, embedding and head. Norms and biases are
    /// f32 always. Without it they are as stored.
    pub dense: Option<FloatType>,
    /// The type of activations and of the KV cache: f32, or f16 or bf16 where the device has it.
    pub activation: DType,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            quantization: None,
            dense: None,
            activation: DType::F32,
        }
    }
}

/// A tensor that is on the device.
pub(crate) enum Loaded<B: Backend> {
    /// Norm weights and biases.
    Tensor(Tensor<B>),
    /// Linear layers, the embedding and the head.
    Weight(Weight<B>),
}

/// A model in the making.
pub struct Loader<B: Backend> {
    backend: B,
    pub(crate) config: ModelConfig,
    pub(crate) architecture: Architecture,
    pub(crate) options: LoadOptions,
    specs: HashMap<String, TensorSpec>,
    pub(crate) loaded: HashMap<String, Loaded<B>>,
}

impl<B: Backend> Loader<B> {
    /// A model of this config without tensors yet.
    ///
    /// # Errors
    /// Those of [`registry::architecture`].
    pub fn new(backend: &B, config: &ModelConfig, options: LoadOptions) -> Result<Self> {
        let specs = layout(config)?;
        Ok(Self {
            backend: backend.clone(),
            config: config.clone(),
            architecture: registry::architecture(config)?,
            options,
            specs: specs.into_iter().map(|spec| (spec.name.clone(), spec)).collect(),
            loaded: HashMap::new(),
        })
    }

    /// Loads a whole checkpoint; `progress(done, of)` counts tensors.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every tensor that is missing, left over or of the wrong shape, before any is read;
    /// those of [`Loader::insert`].
    pub fn load(
        backend: &B,
        checkpoint: &Checkpoint,
        options: LoadOptions,
        progress: impl FnMut(usize, usize),
    ) -> Result<Model<B>> {
        Self::load_with(backend, checkpoint, options, |_| None, progress)
    }

    /// The same with linear layers out of a file of packed ones, those that it has.
    ///
    /// # Errors
    /// As [`Loader::load`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn load_packed(
        backend: &B,
        checkpoint: &Checkpoint,
        packed: &crate::Packed,
        options: LoadOptions,
        progress: impl FnMut(usize, usize),
    ) -> Result<Model<B>> {
        let read = |spec: &TensorSpec| packed.read(spec);
        Self::load_with(backend, checkpoint, options, read, progress)
    }

    fn load_with(
        backend: &B,
        checkpoint: &Checkpoint,
        options: LoadOptions,
        packed: impl Fn(&TensorSpec) -> Option<StoredTensor<'static>>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Model<B>> {
        let mut loader = Self::new(backend, checkpoint.config(), options)?;
        let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
        let mut stored = Vec::with_capacity(names.len());
        for name in names {
            let info = checkpoint.info(&name)?;
            stored.push((name, info.shape.clone(), info.format));
        }
        loader.check(&stored)?;
        let wanted: Vec<_> = stored
            .iter()
            .filter(|(name, ..)| loader.specs.contains_key(name))
            .collect();
        for (done, (name, ..)) in wanted.iter().enumerate() {
            progress(done, wanted.len());
            let spec = loader.specs.get(name).filter(|spec| spec.role == Role::Linear);
            let stored = match spec.and_then(&packed) {
                Some(stored) => stored,
                None => checkpoint.read(name)?,
            };
            loader.insert(name, stored)?;
        }
        progress(wanted.len(), wanted.len());
        loader.finish()
    }

    /// Compares what a checkpoint lists with what the model has.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every tensor that is missing, left over, or of the wrong shape or type.
    pub fn check(&self, stored: &[(String, Vec<usize>, TensorFormat)]) -> Result<()> {
        let mut problems = Vec::new();
        let mut seen = HashMap::new();
        for (name, shape, format) in stored {
            seen.insert(name.as_str(), ());
            let Some(spec) = self.specs.get(name) else {
                if !self.is_ignored(name) {
                    problems.push(TensorProblem {
                        name: name.clone(),
                        expected: format!(
                            "no such tensor in a {} model of this config",
                            self.config.model_type
                        ),
                        found: format!("{format} {shape:?}"),
                    });
                }
                continue;
            };
            if *shape != spec.shape {
                problems.push(TensorProblem {
                    name: name.clone(),
                    expected: format!("{:?}", spec.shape),
                    found: format!("{shape:?}"),
                });
            } else if let TensorFormat::Other(other) = format {
                problems.push(TensorProblem {
                    name: name.clone(),
                    expected: "a float or 4-bit type".to_owned(),
                    found: (*other).to_owned(),
                });
            }
        }
        problems.extend(self.missing(|name| seen.contains_key(name)));
        problems.sort_by(|a, b| a.name.cmp(&b.name));
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ModelError::Tensors(problems))
        }
    }

    /// Tensors that checkpoints carry and models don't need: a head that is tied, and rotary frequencies that old
    /// versions of transformers saved.
    pub(crate) fn is_ignored(&self, name: &str) -> bool {
        (name == "lm_head.weight" && self.config.tie_word_embeddings)
            || name.ends_with(".rotary_emb.inv_freq")
    }

    /// What the model has under this name.
    pub(crate) fn spec(&self, name: &str) -> Option<&TensorSpec> {
        self.specs.get(name)
    }

    pub(crate) fn missing(&self, has: impl Fn(&str) -> bool) -> Vec<TensorProblem> {
        let missing = self.specs.values().filter(|spec| !has(&spec.name));
        let problem = |spec: &TensorSpec| TensorProblem {
            name: spec.name.clone(),
            expected: format!("{:?}", spec.shape),
            found: "no such tensor".to_owned(),
        };
        missing.map(problem).collect()
    }

    /// Puts one tensor on the device.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] where the model has no such tensor or it has another shape; [`ModelError::Quantize`];
    /// [`ModelError::OutOfRange`]; device errors.
    pub fn insert(&mut self, name: &str, stored: StoredTensor<'_>) -> Result<()> {
        let spec = self.specs.get(name);
        let Some(spec) = spec.filter(|spec| spec.shape == stored.shape) else {
            return Err(ModelError::Tensors(vec![TensorProblem {
                name: name.to_owned(),
                expected: spec.map_or("no such tensor".to_owned(), |spec| format!("{:?}", spec.shape)),
                found: format!("{:?}", stored.shape),
            }]));
        };
        let LoadOptions {
            quantization, dense, ..
        } = self.options;
        let backend = &self.backend;
        let loaded = match spec.role {
            Role::Vector => Loaded::Tensor(store::vector(backend, &stored)?),
            Role::Embedding | Role::Head => Loaded::Weight(store::matrix(backend, name, &stored, dense)?),
            Role::Linear => Loaded::Weight(store::linear(backend, name, stored, quantization, dense)?),
        };
        self.loaded.insert(name.to_owned(), loaded);
        Ok(())
    }

    /// A model whose tensors have no values, as [`Loader::load`] makes it of a checkpoint that stores them like this:
    /// what plans run on the dry backend.
    ///
    /// # Errors
    /// Those of [`registry::architecture`]; [`anylora_engine::Error::OutOfMemory`].
    pub fn plan(
        backend: &B,
        config: &ModelConfig,
        stored: impl Fn(&TensorSpec) -> TensorFormat,
        options: LoadOptions,
    ) -> Result<Model<B>> {
        let mut loader = Self::new(backend, config, options)?;
        let LoadOptions {
            quantization, dense, ..
        } = options;
        for spec in layout(config)? {
            let stored = stored(&spec);
            let loaded = match (spec.role, spec.shape.as_slice()) {
                (Role::Linear, &[n, k]) => {
                    Loaded::Weight(store::empty_linear(backend, [n, k], stored, quantization, dense)?)
                }
                (Role::Linear | Role::Embedding | Role::Head, shape) => {
                    Loaded::Weight(store::empty_matrix(backend, shape, stored, dense)?)
                }
                (Role::Vector, shape) => {
                    Loaded::Tensor(Tensor::empty(backend, shape, DType::F32, MemoryKind::Weights)?)
                }
            };
            loader.loaded.insert(spec.name, loaded);
        }
        loader.finish()
    }
}
