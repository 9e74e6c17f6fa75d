//! GGUF, llama.cpp's file format, versions 2 and 3: header, metadata, table of tensors, data.
//!
//! Source: ggml's `docs/gguf.md`. Tensors come under transformers' names, in their blocks, and with the row order of
//! q and k that transformers has.

mod config;
mod metadata;
mod names;
mod permute;
mod pre_tokenizer;
mod reader;
mod sentencepiece;
mod tensors;
mod tokenizer;
mod writer;

use std::borrow::Cow;
use std::collections::BTreeMap;

use self::config::Present;
use self::metadata::Metadata;
pub(crate) use self::names::to_gguf;
pub(crate) use self::permute::apply as permute;
use self::reader::Reader;
use self::tensors::GgufTensor;
pub(crate) use self::writer::{MetaValue, TensorData, write};
use crate::{
    CheckpointError, FileBytes, FloatType, GenerationConfig, ModelConfig, Problem, Problems, Result,
    StoredTensor, TensorFormat, TensorInfo, TokenizerConfig, Values,
};

const MAGIC: &[u8] = b"GGUF";
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// A checked file.
#[derive(Debug)]
pub(crate) struct Gguf {
    pub(crate) config: ModelConfig,
    pub(crate) generation: GenerationConfig,
    pub(crate) tokenizer: TokenizerConfig,
    /// Serialized for the `tokenizers` crate.
    pub(crate) tokenizer_json: Option<Vec<u8>>,
    bytes: FileBytes,
    /// By transformers' name.
    tensors: BTreeMap<String, GgufTensor>,
    /// Whether q and k have llama.cpp's row order.
    is_permuted: bool,
}

impl Gguf {
    /// Reads everything but the tensors' data out of a whole file.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every bad place of the first part that has some;
    /// [`CheckpointError::Unsupported`] with every tensor whose type is not read, or for the tokenizer's kind.
    pub(crate) fn new(file: &str, bytes: FileBytes) -> Result<Self> {
        let mut reader = Reader {
            file,
            bytes: &bytes,
            at: 0,
        };
        let (tensor_count, metadata_count) = read_header(&mut reader)?;
        let metadata = Metadata::read(&mut reader, metadata_count)?;
        let mut view = metadata.view(file, &bytes);
        check_kind(&mut view)?;
        let alignment = view.unsigned("general.alignment").unwrap_or(32);
        if !(1..=1 << 20).contains(&alignment) {
            view.problem(
                "general.alignment",
                "a number from 1 to 2^20",
                alignment.to_string(),
            );
        }
        std::mem::take(&mut view.problems).into_result()?;
        let mut by_gguf_name = tensors::read(&mut reader, tensor_count, alignment)?;
        let rope_factors = by_gguf_name.remove(ROPE_FACTORS);
        let rope_factors = rope_factors
            .filter(|tensor| tensor.format == TensorFormat::Dense(FloatType::F32))
            .map(|tensor| {
                let mut factors = vec![0.0; tensor.range.len() / 4];
                FloatType::F32.decode(&bytes[tensor.range], &mut factors);
                factors
            });
        // A name that transformers does not have stays as it is, for whoever lists what is left over.
        let mut tensors = BTreeMap::new();
        for (name, tensor) in by_gguf_name {
            let place = format!("tensor `{name}`");
            if tensors
                .insert(names::to_hugging_face(&name).unwrap_or(name), tensor)
                .is_some()
            {
                let problem = Problem::new(file, place, "one tensor of its meaning", "two");
                view.problems.0.push(problem);
            }
        }
        std::mem::take(&mut view.problems).into_result()?;
        let embedding = tensors.get("model.embed_tokens.weight");
        let present = Present {
            has: &|name| tensors.contains_key(name),
            vocab_size: embedding.and_then(|embedding| embedding.shape.first().copied()),
            rope_factors,
        };
        let config = config::read(&mut view, &present)?;
        let (tokenizer, tokenizer_json) = tokenizer::read(&mut view)?;
        std::mem::take(&mut view.problems).into_result()?;
        let is_permuted = matches!(config.model_type.as_str(), "llama" | "mistral");
        if is_permuted {
            check_rows(file, &config, &tensors)?;
        }
        Ok(Self {
            generation: GenerationConfig::default().or_from(&config),
            config,
            tokenizer,
            tokenizer_json,
            tensors,
            is_permuted,
            bytes,
        })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub(crate) fn info(&self, name: &str) -> Option<TensorInfo> {
        let tensor = self.tensors.get(name)?;
        Some(TensorInfo {
            shape: tensor.shape.clone(),
            format: tensor.format,
            bytes: tensor.range.len(),
        })
    }

    pub(crate) fn read(&self, name: &str) -> Option<StoredTensor<'_>> {
        let tensor = self.tensors.get(name)?;
        let bytes = &self.bytes[tensor.range.clone()];
        let bytes = match self.is_permuted && heads(&self.config, name).is_some() {
            true => {
                let rows = tensor.shape.first().copied().unwrap_or(1);
                let row_bytes = bytes.len() / rows.max(1);
                Cow::Owned(permute::undo(bytes, self.config.head_dim, row_bytes))
            }
            false => Cow::Borrowed(bytes),
        };
        let values = match tensor.format {
            TensorFormat::Dense(dtype) => Values::Dense { dtype, bytes },
            TensorFormat::Ggml(format) => Values::Ggml { format, bytes },
            // The table of tensors has no other.
            TensorFormat::Quantized4 { .. } | TensorFormat::Other(_) => return None,
        };
        Some(StoredTensor {
            shape: tensor.shape.clone(),
            values,
        })
    }
}

/// Magic, version and counts.
fn read_header(reader: &mut Reader<'_>) -> Result<(u64, u64)> {
    let magic = reader.take(4, "GGUF's magic")?;
    if magic != MAGIC {
        reader.at = 0;
        return Err(reader.error(
            "the letters GGUF",
            format!("{:?}", String::from_utf8_lossy(magic)),
        ));
    }
    let version = reader.u32("the version")?;
    if !matches!(version, 2 | 3) {
        let found = match version.swap_bytes() {
            1..=3 => "a big-endian file".into(),
            _ => format!("version {version}"),
        };
        let problem = Problem::new(reader.file, "version", "2 or 3, little-endian", found);
        return Err(CheckpointError::Unsupported {
            problems: Problems(vec![problem]),
            hint: "convert the model again with llama.cpp's convert_hf_to_gguf.py".into(),
        });
    }
    Ok((
        reader.u64("the tensors' number")?,
        reader.u64("the metadata's number")?,
    ))
}

/// Refuses adapters and shards of split files.
fn check_kind(view: &mut metadata::MetaView<'_>) -> Result<()> {
    let kind = view.text("general.type").unwrap_or("model");
    let shards = view.unsigned("split.count").unwrap_or(1);
    let (expected, found, hint) = match (kind, shards) {
        ("model", 0 | 1) => return Ok(()),
        ("model", shards) => (
            "a model in one file",
            format!("one of {shards} parts"),
            "llama-gguf-split --merge FIRST-PART.gguf WHOLE.gguf",
        ),
        (other, _) => (
            "a model",
            format!("a file of type {other:?}"),
            "name a model with --model; adapters go to --adapter in PEFT's format",
        ),
    };
    Err(CheckpointError::Unsupported {
        problems: Problems(vec![Problem::new(view.file, "`general.type`", expected, found)]),
        hint: hint.into(),
    })
}

/// The heads of a tensor whose rows llama.cpp's llama family permutes.
fn heads(config: &ModelConfig, name: &str) -> Option<usize> {
    let (module, _) = name.rsplit_once('.')?;
    if module.ends_with("self_attn.q_proj") {
        Some(config.num_attention_heads)
    } else if module.ends_with("self_attn.k_proj") {
        Some(config.num_key_value_heads)
    } else {
        None
    }
}

/// Every tensor with permuted rows must have the rows of its heads.
fn check_rows(file: &str, config: &ModelConfig, tensors: &BTreeMap<String, GgufTensor>) -> Result<()> {
    let mut problems = Problems::default();
    for (name, tensor) in tensors {
        let Some(heads) = heads(config, name) else {
            continue;
        };
        // Rows can be moved where they are whole blocks: matrices, and vectors of single numbers.
        let is_movable = match tensor.format {
            TensorFormat::Dense(_) => matches!(tensor.shape.len(), 1 | 2),
            _ => tensor.shape.len() == 2,
        };
        if !is_movable || tensor.shape.first() != Some(&(heads * config.head_dim)) {
            problems.0.push(Problem::new(
                file,
                format!("tensor `{name}`"),
                format!("{heads} heads of {} rows", config.head_dim),
                format!("{} {:?}", tensor.format, tensor.shape),
            ));
        }
    }
    problems.into_result()
}

/// Tensors of a test: shape and values.
#[cfg(test)]
type F32Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Texts and f32 numbers of the metadata, and the f32 tensors, of any GGUF file.
#[cfg(test)]
pub(crate) fn contents(bytes: &[u8], keys: &[&str]) -> (Vec<String>, F32Tensors) {
    let mut reader = Reader {
        file: "test.gguf",
        bytes,
        at: 0,
    };
    let (tensor_count, metadata_count) = read_header(&mut reader).unwrap();
    let metadata = Metadata::read(&mut reader, metadata_count).unwrap();
    let mut view = metadata.view("test.gguf", bytes);
    let mut text = |key: &str| match view.text(key) {
        Some(text) => text.to_string(),
        None => view.float(key).unwrap().to_string(),
    };
    let values = keys.iter().map(|key| text(key)).collect();
    let tensors = tensors::read(&mut reader, tensor_count, 32).unwrap();
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        let mut values = vec![0.0; tensor.range.len() / 4];
        FloatType::F32.decode(&bytes[tensor.range], &mut values);
        (name, (tensor.shape, values))
    });
    (values, tensors.collect())
}
