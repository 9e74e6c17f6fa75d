//! From `--model` and `--adapter` to a model on a device.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use anylora_checkpoint::{Adapter, Checkpoint, CheckpointError};
use anylora_engine::Backend;
use anylora_generate::GenerateError;
use anylora_models::{LoadOptions, Loader, Model, ModelError, Quantization, adapters};
use anylora_nn::Adapters;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{cache, error, hub};

/// How linear layers are packed while loading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Quant {
    /// As they are stored
    #[default]
    None,
    /// In 4 bits, with double quantization
    Nf4,
}

/// The model of a command that computes with one.
#[derive(Clone, Debug, Args)]
pub struct ModelArgs {
    /// A model folder, a .gguf file or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// A LoRA adapter's folder, in PEFT's format
    #[arg(long, value_name = "FOLDER")]
    pub adapter: Option<PathBuf>,
    /// Pack linear layers while loading
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub quant: Quant,
    /// With --quant nf4: keep the packed weights in the user's cache, so that the next start does not quantize
    #[arg(long)]
    pub cache: bool,
}

impl ModelArgs {
    /// Opens the checkpoint; weights are mapped, not read.
    pub fn open(&self) -> Result<Checkpoint> {
        open(&self.model)
    }

    /// Opens the adapter, where one is given; what has no effect in its config is told on stderr.
    pub fn open_adapter(&self) -> Result<Option<Adapter>> {
        let Some(path) = &self.adapter else {
            return Ok(None);
        };
        let adapter = Adapter::open(path).map_err(checkpoint_error)?;
        for warning in &adapter.warnings.0 {
            anstream::eprintln!("no effect: {warning}");
        }
        Ok(Some(adapter))
    }

    /// How to load it.
    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            quantization: (self.quant == Quant::Nf4).then(Quantization::nf4),
            ..LoadOptions::default()
        }
    }
}

/// The path that `--model` means: a path that is there, or else a hub id's folder in the hub's cache.
pub fn path(model: &str) -> Result<PathBuf> {
    let path = Path::new(model);
    if !path.exists() && hub::is_id(model) {
        return hub::folder(model);
    }
    Ok(path.to_owned())
}

/// Opens a folder, a .gguf file or a hub id.
pub fn open(model: &str) -> Result<Checkpoint> {
    Checkpoint::open(&path(model)?).map_err(checkpoint_error)
}

/// Puts a model on the device, with a progress bar on stderr.
pub fn load<B: Backend>(backend: &B, checkpoint: &Checkpoint, arguments: &ModelArgs) -> Result<Model<B>> {
    let options = arguments.options();
    let packed = match options.quantization {
        Some(quantization) if arguments.cache => {
            Some(cache::packed(&path(&arguments.model)?, checkpoint, quantization)?)
        }
        _ => None,
    };
    match packed {
        Some(packed) => {
            with_bar(|progress| Loader::load_packed(backend, checkpoint, &packed, options, progress))
        }
        None => load_with(backend, checkpoint, options),
    }
}

/// The same without a cache.
pub fn load_with<B: Backend>(backend: &B, checkpoint: &Checkpoint, options: LoadOptions) -> Result<Model<B>> {
    with_bar(|progress| Loader::load(backend, checkpoint, options, progress))
}

fn with_bar<T>(load: impl FnOnce(&dyn Fn(usize, usize)) -> Result<T, ModelError>) -> Result<T> {
    let bar = ProgressBar::new(0).with_style(style("{msg} {wide_bar} {pos}/{len} tensors")?);
    bar.set_message("loading");
    let loaded = load(&|done, of| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    loaded.map_err(model_error)
}

/// Puts an adapter on the device that its model is on.
pub fn load_adapter<B: Backend>(model: &Model<B>, adapter: Option<&Adapter>) -> Result<Option<Adapters<B>>> {
    adapter
        .map(|adapter| adapters(model.backend(), &model.config, adapter, false))
        .transpose()
        .map_err(model_error)
}

/// A progress bar's look.
pub fn style(template: &str) -> Result<ProgressStyle> {
    ProgressStyle::with_template(template).context("the progress bar's template is wrong")
}

/// A path that holds no model, or one that this program can't use, is a wrong request.
pub fn checkpoint_error(error: CheckpointError) -> anyhow::Error {
    let request = matches!(
        error,
        CheckpointError::NotFound { .. } | CheckpointError::Unsupported { .. }
    );
    let hint = error.hint();
    annotated(error, hint, request)
}

/// The same for what comes out of the models crate.
pub fn model_error(error: ModelError) -> anyhow::Error {
    let request = matches!(
        error,
        ModelError::UnknownFamily { .. }
            | ModelError::UnsupportedConfig { .. }
            | ModelError::Targets(_)
            | ModelError::Layers { .. }
            | ModelError::Adapter(_)
    );
    let hint = error.hint();
    match error {
        ModelError::Checkpoint(error) => checkpoint_error(error),
        error => annotated(error, hint, request),
    }
}

/// The same for what comes out of the generate crate.
pub fn generate_error(error: GenerateError) -> anyhow::Error {
    let request = matches!(
        error,
        GenerateError::NoChatTemplate
            | GenerateError::EmptyPrompt
            | GenerateError::TooLong { .. }
            | GenerateError::Sampling { .. }
            | GenerateError::Template(_)
    );
    let hint = error.hint();
    match error {
        GenerateError::Model(error) => model_error(error),
        error => annotated(error, hint, request),
    }
}

fn annotated(
    error: impl std::error::Error + Send + Sync + 'static,
    hint: Option<String>,
    request: bool,
) -> anyhow::Error {
    error::note(error.into(), request, hint)
}
