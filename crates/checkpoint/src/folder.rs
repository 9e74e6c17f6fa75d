//! A Hugging Face folder: its files and what they say.

use std::collections::BTreeMap;

use crate::bitsandbytes::{self, Place4};
use crate::fields::parse_object;
use crate::shards::{self, Place};
use crate::tokenizer::utf8;
use crate::{
    CheckpointError, FileBytes, GenerationConfig, ModelConfig, Problem, Problems, Result, StoredTensor,
    TensorInfo, TokenizerConfig, Values,
};

/// The files of a folder by name.
pub type Files = BTreeMap<String, FileBytes>;

const CONFIG: &str = "config.json";

/// What a folder's files beside its weights say, for where the weights come by another way.
#[derive(Debug)]
pub struct SideFiles {
    /// config.json.
    pub config: ModelConfig,
    /// generation_config.json; token ids that it lacks are those of the config.
    pub generation: GenerationConfig,
    /// tokenizer_config.json, with chat_template.jinja as its default template where there is one.
    pub tokenizer: TokenizerConfig,
}

impl SideFiles {
    /// Reads them from the bytes of a folder's files by name; only config.json has to be there.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every bad place of the first kind that is wrong;
    /// [`CheckpointError::Unsupported`] for a quantization that is not bitsandbytes' in 4 bits.
    pub fn read(files: &Files) -> Result<Self> {
        let Some(config) = files.get(CONFIG) else {
            return Err(CheckpointError::malformed(
                CONFIG,
                "file",
                "the model's config",
                "nothing",
            ));
        };
        let object = parse_object(CONFIG, config)?;
        bitsandbytes::check_method(object.get("quantization_config"))?;
        let config = ModelConfig::from_object(CONFIG, &object)?;
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
        Ok(Self {
            generation: generation.or_from(&config),
            config,
            tokenizer,
        })
    }
}

/// A checked folder.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) side: SideFiles,
    files: Files,
    tensors: BTreeMap<String, Place>,
    weights4: BTreeMap<String, Place4>,
}

impl Folder {
    pub(crate) fn new(files: Files) -> Result<Self> {
        let side = SideFiles::read(&files)?;
        let mut tensors = shards::tensors(&files)?;
        let weights4 = bitsandbytes::take(&files, &mut tensors)?;
        Ok(Self {
            side,
            files,
            tensors,
            weights4,
        })
    }

    pub(crate) fn config_object(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        parse_object(CONFIG, self.files.get(CONFIG)?).ok()
    }

    pub(crate) fn tokenizer_json(&self) -> Option<&[u8]> {
        self.files.get("tokenizer.json").map(|bytes| &**bytes)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<_> = self.tensors.keys().chain(self.weights4.keys()).collect();
        names.sort();
        names.into_iter().map(String::as_str)
    }

    pub(crate) fn info(&self, name: &str) -> Option<TensorInfo> {
        if let Some(weight) = self.weights4.get(name) {
            return Some(weight.info());
        }
        let place = self.tensors.get(name)?;
        Some(TensorInfo {
            shape: place.shape.clone(),
            format: place.dtype.format(),
            bytes: place.len(),
        })
    }

    pub(crate) fn read(&self, name: &str) -> Result<Option<StoredTensor<'_>>> {
        if let Some(weight) = self.weights4.get(name) {
            return Ok(Some(StoredTensor {
                shape: weight.shape.clone(),
                values: Values::Quantized4(weight.read(&self.files)?),
            }));
        }
        let Some(place) = self.tensors.get(name) else {
            return Ok(None);
        };
        let Some(dtype) = place.dtype.float() else {
            let tensor = format!("tensor `{name}`");
            let problem = Problem::new(&place.file, tensor, "F32, F16 or BF16", place.dtype.name);
            return Err(CheckpointError::Unsupported {
                problems: Problems(vec![problem]),
                hint: "save the model in bfloat16, with `model.to(torch.bfloat16).save_pretrained(FOLDER)`"
                    .into(),
            });
        };
        Ok(Some(StoredTensor {
            shape: place.shape.clone(),
            values: Values::Dense {
                dtype,
                bytes: place.bytes(&self.files),
            },
        }))
    }
}
