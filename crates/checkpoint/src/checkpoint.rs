//! A model on disk, whatever its file format, under Hugging Face's names.

use std::borrow::Cow;
#[cfg(not(target_arch = "wasm32"))]
use std::path::Path;

use crate::folder::{Files, Folder};
use crate::gguf::Gguf;
#[cfg(not(target_arch = "wasm32"))]
use crate::open::Found;
use crate::{FileBytes, GenerationConfig, ModelConfig, Result, StoredTensor, TensorInfo, TokenizerConfig};

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
    source: Source,
}

#[derive(Debug)]
enum Source {
    Folder(Box<Folder>),
    Gguf(Box<Gguf>),
}

/// The file format of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// A Hugging Face folder with safetensors.
    HuggingFace,
    /// llama.cpp's single file.
    Gguf,
}

impl Checkpoint {
    /// Opens a Hugging Face folder (`config.json`, safetensors in one file or in shards with their index, and the
    /// tokenizer's files), a GGUF file, or a folder whose only model is a GGUF file. Weights are mapped into memory,
    /// not read.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NotFound`] where there is no model, [`crate::CheckpointError::Malformed`] with every
    /// bad place of the first kind that is wrong, [`crate::CheckpointError::Io`].
    #[cfg(not(target_arch = "wasm32"))]
    pub fn open(path: &Path) -> Result<Self> {
        match crate::open::find(path)? {
            Found::Folder(files) => Self::from_files(files),
            Found::Gguf { name, bytes } => Self::from_gguf(&name, bytes),
        }
    }

    /// A Hugging Face folder from the bytes of its files by name, for where there is no file system.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub fn from_files(files: Files) -> Result<Self> {
        let source = Source::Folder(Box::new(Folder::new(files)?));
        Ok(Self { source })
    }

    /// A GGUF file from its bytes; `name` goes into messages.
    ///
    /// # Errors
    /// As [`Checkpoint::open`]; [`crate::CheckpointError::Unsupported`] with every tensor whose type is not read.
    pub fn from_gguf(name: &str, bytes: FileBytes) -> Result<Self> {
        let source = Source::Gguf(Box::new(Gguf::new(name, bytes)?));
        Ok(Self { source })
    }

    /// The file format.
    pub fn format(&self) -> FileFormat {
        match &self.source {
            Source::Folder(_) => FileFormat::HuggingFace,
            Source::Gguf(_) => FileFormat::Gguf,
        }
    }

    /// config.json as it is, where there is one.
    pub(crate) fn config_object(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        match &self.source {
            Source::Folder(folder) => folder.config_object(),
            Source::Gguf(_) => None,
        }
    }

    /// The hyperparameters.
    pub fn config(&self) -> &ModelConfig {
        match &self.source {
            Source::Folder(folder) => &folder.side.config,
            Source::Gguf(gguf) => &gguf.config,
        }
    }

    /// How the model's makers generate; token ids that its file lacks are those of [`Checkpoint::config`].
    pub fn generation_config(&self) -> &GenerationConfig {
        match &self.source {
            Source::Folder(folder) => &folder.side.generation,
            Source::Gguf(gguf) => &gguf.generation,
        }
    }

    /// The bytes of tokenizer.json, for the `tokenizers` crate; made from a GGUF file's metadata. Nothing where the
    /// checkpoint has no tokenizer.
    pub fn tokenizer_json(&self) -> Option<Cow<'_, [u8]>> {
        match &self.source {
            Source::Folder(folder) => folder.tokenizer_json().map(Cow::Borrowed),
            Source::Gguf(gguf) => gguf.tokenizer_json.as_deref().map(Cow::Borrowed),
        }
    }

    /// Special tokens and templates; empty where the checkpoint has no tokenizer_config.json.
    pub fn tokenizer_config(&self) -> &TokenizerConfig {
        match &self.source {
            Source::Folder(folder) => &folder.side.tokenizer,
            Source::Gguf(gguf) => &gguf.tokenizer,
        }
    }

    /// The default chat template (Jinja): chat_template.jinja, or else that of tokenizer_config.json.
    pub fn chat_template(&self) -> Option<String> {
        self.tokenizer_config().chat_template().map(String::from)
    }

    /// The tensors' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let names: Vec<_> = match &self.source {
            Source::Folder(folder) => folder.names().collect(),
            Source::Gguf(gguf) => gguf.names().collect(),
        };
        names.into_iter()
    }

    /// Whether a tensor is there.
    pub fn contains(&self, name: &str) -> bool {
        self.stored_info(name).is_some()
    }

    /// Shape, format and size of a tensor.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NoTensor`].
    pub fn info(&self, name: &str) -> Result<TensorInfo> {
        self.stored_info(name).ok_or_else(|| self.no_tensor(name))
    }

    /// A tensor in its storage format, lent from the file where it needs no change.
    ///
    /// # Errors
    /// [`crate::CheckpointError::NoTensor`]; [`crate::CheckpointError::Unsupported`] for a type that no weight has.
    pub fn read(&self, name: &str) -> Result<StoredTensor<'_>> {
        let tensor = match &self.source {
            Source::Folder(folder) => folder.read(name)?,
            Source::Gguf(gguf) => gguf.read(name),
        };
        tensor.ok_or_else(|| self.no_tensor(name))
    }

    fn stored_info(&self, name: &str) -> Option<TensorInfo> {
        match &self.source {
            Source::Folder(folder) => folder.info(name),
            Source::Gguf(gguf) => gguf.info(name),
        }
    }

    fn no_tensor(&self, name: &str) -> crate::CheckpointError {
        crate::CheckpointError::NoTensor {
            name: name.into(),
            nearest: crate::nearest::nearest(name, self.names()).map(String::from),
        }
    }
}
