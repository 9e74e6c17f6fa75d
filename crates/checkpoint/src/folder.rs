//! A Hugging Face folder: its files and what they say.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::shards::{self, Place};
use crate::tokenizer::utf8;
use crate::{
    CheckpointError, FileBytes, GenerationConfig, ModelConfig, Problem, Problems, Result, StoredTensor,
    TensorInfo, TokenizerConfig, Values,
};

/// The files of a folder by name.
pub type Files = BTreeMap<String, FileBytes>;

const CONFIG: &str = "config.json";

/// A checked folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) config: ModelConfig,
    pub(crate) generation: GenerationConfig,
    pub(crate) tokenizer: TokenizerConfig,
    files: Files,
    tensors: BTreeMap<String, Place>,
}

impl Folder {
    pub(crate) fn new(files: Files) -> Result<Self> {
        let Some(config) = files.get(CONFIG) else {
            return Err(CheckpointError::malformed(
                CONFIG,
                "file",
                "the model's config",
                "nothing",
            ));
        };
        let config = ModelConfig::from_json(config)?;
        let generation = match files.get("generation_config.json") {
            Some(bytes) => GenerationConfig::from_json(bytes)?,
            None => GenerationConfig::default(),
        };
        let mut tokenizer = match files.get("tokenizer_config.json") {
            Some(bytes) => TokenizerConfig::from_json(bytes)?,
            None => TokenizerConfig::default(),
        };
        if let Some(bytes) = files.get("chat_template.jinja") {
            let template = utf8("chat_template.jinja", bytes)?;
            tokenizer.chat_templates.retain(|(name, _)| name != "default");
            tokenizer.chat_templates.insert(0, ("default".into(), template));
        }
        let tensors = shards::tensors(&files)?;
        Ok(Self {
            generation: generation.or_from(&config),
            config,
            tokenizer,
            files,
            tensors,
        })
    }

    pub(crate) fn tokenizer_json(&self) -> Option<&[u8]> {
        self.files.get("tokenizer.json").map(|bytes| &**bytes)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn info(&self, name: &str) -> Option<TensorInfo> {
        let entry = &self.tensors.get(name)?.entry;
        Some(TensorInfo {
            shape: entry.shape.clone(),
            format: entry.dtype.format(),
            bytes: entry.range.len(),
        })
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<StoredTensor<'_>>> {
        let Some(Place { file, entry }) = self.tensors.get(name) else {
            return Ok(None);
        };
        let Some(dtype) = entry.dtype.float() else {
            let problem = Problem::new(
                file,
                format!("tensor `{name}`"),
                "F32, F16 or BF16",
                entry.dtype.name,
            );
            return Err(CheckpointError::Unsupported {
                problems: Problems(vec![problem]),
                hint: "save the model in bfloat16, with `model.to(torch.bfloat16).save_pretrained(FOLDER)`"
                    .into(),
            });
        };
        // The header was checked against the length of this file.
        let bytes = &self.files[file][entry.range.clone()];
        Ok(Some(StoredTensor {
            shape: entry.shape.clone(),
            values: Values::Dense {
                dtype,
                bytes: Cow::Borrowed(bytes),
            },
        }))
    }
}
