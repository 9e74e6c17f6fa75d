//! `anylora merge`: base model and adapter become one model.

use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use anylora_checkpoint::{Adapter, Checkpoint, CheckpointError, FloatType, ModelWriter};
use anylora_engine::Backend;
use anylora_engine_wgpu::OpenOptions;
use anylora_generate::Prompter;
use anylora_models::merge::{merge, merged_specs};
use anylora_models::{LoadOptions, Model};
use clap::{Args, ValueEnum};
use indicatif::ProgressBar;
use pollster::block_on;

use crate::engine::{DeviceArgs, Job, with_device};
use crate::error::{Annotate, request};
use crate::model::{self, checkpoint_error, generate_error, load_adapter, model_error, style};
use crate::output;

/// What both models are asked.
const PROBE: &str = "The quick brown fox jumps over the lazy dog. In 1969, two people walked on the moon; it took \
                     them three days to get there.";

/// Shards of a merged model.
const SHARD_BYTES: usize = 5_000_000_000;

/// Write a model with an adapter merged into its weights.
///
/// Tensors go through one at a time. Afterwards base + adapter and the merged model are both run on a probe text, and
/// the largest difference of their logits is printed: what rounding to --dtype costs. A base that is quantized is
/// dequantized first; an adapter that was trained on a 4-bit base (QLoRA) is merged into the weights of --model as they
/// are, which are not those that it was trained on: --quant nf4 shows the difference to the 4-bit base too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    anylora merge --model HuggingFaceTB/SmolLM2-135M-Instruct --adapter runs/first/adapter --out merged --dtype bf16")]
pub struct Merge {
    #[command(flatten)]
    model: model::ModelArgs,
    /// The folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The type of the merged weights
    #[arg(long, value_enum, default_value = "bf16")]
    dtype: Dtype,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Types of safetensors that everybody reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Merge {
    /// Merges, then compares.
    pub fn run(self) -> Result<()> {
        let checkpoint = self.model.open()?;
        let adapter = self.model.open_adapter()?;
        let adapter = adapter
            .ok_or_else(|| request("no adapter was given"))
            .hint("--adapter RUN/adapter")?;
        let dtype = match self.dtype {
            Dtype::F32 => FloatType::F32,
            Dtype::F16 => FloatType::F16,
            Dtype::Bf16 => FloatType::BF16,
        };
        self.write(&checkpoint, &adapter, dtype)?;
        let probe = Probe {
            merge: &self,
            checkpoint: &checkpoint,
            adapter: &adapter,
        };
        let drift = with_device(self.device.device, OpenOptions::default(), probe)?;
        eprintln!("largest difference of a logit on a probe text, relative to the largest logit:");
        for (what, drift) in drift {
            eprintln!("  {what}: {drift:.2e}");
        }
        output::print(&format!("{}\n", self.out.display()))
    }

    fn write(&self, checkpoint: &Checkpoint, adapter: &Adapter, dtype: FloatType) -> Result<()> {
        let specs = merged_specs(checkpoint, dtype).map_err(model_error)?;
        let mut writer = match ModelWriter::create(&self.out, specs, SHARD_BYTES) {
            Err(CheckpointError::Io { path, source }) if source.kind() == ErrorKind::AlreadyExists => {
                return Err(request(format!(
                    "{}: expected a new folder to write the model into, found something there",
                    path.display()
                )))
                .hint("--out another folder");
            }
            writer => writer.map_err(checkpoint_error)?,
        };
        let bar = ProgressBar::new(0).with_style(style("merging {wide_bar} {pos}/{len} tensors {eta}")?);
        merge(checkpoint, adapter, &mut writer, |done, of| {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        })
        .map_err(model_error)?;
        bar.finish_and_clear();
        for (name, bytes) in checkpoint.side_files(dtype) {
            writer.add_file(&name, &bytes).map_err(checkpoint_error)?;
        }
        writer.finish().map_err(checkpoint_error)
    }
}

/// Runs the models on the probe.
struct Probe<'a> {
    merge: &'a Merge,
    checkpoint: &'a Checkpoint,
    adapter: &'a Adapter,
}

impl Job for Probe<'_> {
    type Output = Vec<(String, f32)>;

    fn run<B: Backend>(self, backend: B) -> Result<Self::Output> {
        let prompter = Prompter::new(self.checkpoint).map_err(generate_error)?;
        let ids = prompter.raw(PROBE).map_err(generate_error)?;
        let merged = Checkpoint::open(&self.merge.out).map_err(checkpoint_error)?;
        let merged = model::load_with(&backend, &merged, LoadOptions::default())?;
        let found = logits(&merged, &ids, None)?;
        drop(merged);
        let mut bases = vec![("base + adapter to merged", LoadOptions::default())];
        let packed = self.merge.model.options();
        if packed.quantization.is_some() {
            bases.push(("4-bit base + adapter to merged", packed));
        }
        let mut drift = Vec::new();
        for (what, options) in bases {
            let model = model::load_with(&backend, self.checkpoint, options)?;
            let expected = logits(&model, &ids, Some(self.adapter))?;
            drift.push((what.to_owned(), distance(&found, &expected)));
        }
        Ok(drift)
    }
}

fn logits<B: Backend>(model: &Model<B>, ids: &[u32], adapter: Option<&Adapter>) -> Result<Vec<f32>> {
    let adapters = load_adapter(model, adapter)?;
    let context = model.context([1, ids.len()], None, None).map_err(model_error)?;
    let hidden = model
        .forward(ids, &context, adapters.as_ref(), |_, _| {})
        .map_err(model_error)?;
    let logits = model.logits(&hidden).map_err(model_error)?;
    block_on(logits.to_f32()).context("the logits could not be read")
}

fn distance(found: &[f32], expected: &[f32]) -> f32 {
    let largest = expected
        .iter()
        .fold(0f32, |largest, value| largest.max(value.abs()));
    let difference = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    difference.fold(0f32, f32::max) / largest
}
