//! A model on disk, whatever its file format, under Hugging Face's names.

use std::borrow::Cow;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use crate::folder::{Files, Folder};
use crate::{GenerationConfig, ModelConfig, Result, StoredTensor, TensorInfo, TokenizerConfig};

/// An opened model: everything but the tensors is read and checked, the tensors are read one by one.
///
/// Tensor names are those of transformers, `model.layers.0.self_attn.q_proj.weight`.
///
/// ```no_run
/// # fn main() -> anylora_checkpoint::Result<()> {
/// use anylora_checkpoint::Checkpoint;
///
/// let checkpoint = Checkpoint::open("models/SmolLM2-135M-Instruct".as_ref())?;
/// assert_eq!(checkpoint.config().hidden_size, 576);
/// let embedding = checkpoint.read("model.embed_tokens.weight")?;
/// assert_eq!(embedding.shape, [49152, 576]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Checkpoint {
    source: Folder,
}

impl Checkpoint {
    /// Opens a Hugging Face folder: `config.json`, safetensors in one file or in shards with their index, and the
    /// tokenizer's files. Weights are mapped into memory, not read.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NotFound`] where there is no model, [`crate::CheckpointError::Malformed`] with every
    /// bad place of the first kind that is wrong, [`crate::CheckpointError::Io`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path) -> Result<Self> {
        let files = crate::open::folder(path)?;
        Self::from_files(files)
    }

    /// A Hugging Face folder from the bytes of its files by name, for where there is no file system.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_files(files: Files) -> Result<Self> {
        Ok(Self {
            source: Folder::new(files)?,
        })
    }

    /// The hyperparameters.
    pub fn config(&self) -> &ModelConfig {
        &self.source.config
    }

    /// How the model's makers generate; token ids that its file lacks are those of [`Checkpoint::config`].
    pub fn generation_config(&self) -> &GenerationConfig {
        &self.source.generation
    }

    /// The bytes of tokenizer.json, for the `tokenizers` crate; nothing where the checkpoint has no tokenizer.
    pub fn tokenizer_json(&self) -> Option<Cow<'_, [u8]>> {
        self.source.tokenizer_json().map(Cow::Borrowed)
    }

    /// Special tokens and templates; empty where the checkpoint has no tokenizer_config.json.
    pub fn tokenizer_config(&self) -> &TokenizerConfig {
        &self.source.tokenizer
    }

    /// The default chat template (Jinja): chat_template.jinja, or else that of tokenizer_config.json.
    pub fn chat_template(&self) -> Option<String> {
        self.tokenizer_config().chat_template().map(String::from)
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.source.names()
    }

    /// Whether a tensor is there.
    pub fn contains(&self, name: &str) -> bool {
        self.source.info(name).is_some()
    }

    /// Shape, format and size of a tensor.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NoTensor`].
    pub fn info(&self, name: &str) -> Result<TensorInfo> {
        self.source.info(name).ok_or_else(|| self.no_tensor(name))
    }

    /// A tensor in its storage format, lent from the file where it needs no change.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NoTensor`]; [`crate::CheckpointError::Unsupported`] for a type that no weight has.
    pub fn read(&self, name: &str) -> Result<StoredTensor<'_>> {
        self.source.read(name)?.ok_or_else(|| self.no_tensor(name))
    }

    fn no_tensor(&self, name: &str) -> crate::CheckpointError {
        crate::CheckpointError::NoTensor {
            name: name.into(),
            nearest: crate::nearest::nearest(name, self.names()).map(String::from),
        }
    }
}
