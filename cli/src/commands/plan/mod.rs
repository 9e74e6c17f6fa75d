//! `anylora plan`: what a run takes, and what fits.

pub(super) mod size;
mod text;

use std::path::PathBuf;

use anyhow::Result;
use anylora_checkpoint::ModelConfig;
use anylora_engine::{Backend, Caps, DType, DeviceSpec, Tier};
use anylora_engine_wgpu::OpenOptions;
use anylora_train::plan::{self, Limits, Nearest, Planner, Setting, shapes};
use anylora_train::{Quant, TrainConfig, TrainOverrides};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::train::{read, train_error};
use crate::engine::{Job, with_device};
use crate::error::{Annotate, request};
use crate::{model, output};
use size::Size;

/// A device that refuses nothing, with 16-bit activations: what GPUs for training are.
const ANY_GPU: Caps = Caps {
    tier: Tier {
        f16: true,
        bf16: false,
        subgroups: true,
        cooperative_matrix: false,
    },
    ..Caps::HOST
};

/// Show what a training run takes before it starts: memory by kind, operations and bytes a step.
///
/// The training loop itself runs on a device that allocates nothing and counts: the bytes are exact for our own
/// buffers. What the driver adds is not in them. All options of `anylora train` that change the figures are
/// understood. Without --device the plan is for a GPU without limits on buffers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora plan --shape llama-7b --method qlora --batch-size 8 --max-length 512\n  \
    anylora plan --model HuggingFaceTB/SmolLM2-135M-Instruct --method lora --rank 8 --json\n  \
    anylora plan --shape llama-65b --vram 48GiB\n  \
    anylora plan --table --max-length 512 --csv")]
pub struct Plan {
    /// A well-known model by its shape, without its weights: llama-7b, llama3-8b, qwen2.5-0.5b, ... [weights in bf16]
    #[arg(long, value_name = "SHAPE", conflicts_with = "model")]
    shape: Option<String>,
    /// lora (base weights as they are stored) or qlora (in 4 bits); the same as --quant none or nf4
    #[arg(long, value_enum, conflicts_with = "quant")]
    method: Option<Method>,
    /// Settings in TOML, as `anylora train` takes them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What fits into this much device memory: 12GiB, 80GB
    #[arg(long, value_name = "SIZE", conflicts_with = "table")]
    vram: Option<Size>,
    /// How much of a device's memory is left to the driver and other programs
    #[arg(long, value_name = "SIZE", default_value = "512MiB")]
    reserve: Size,
    /// The largest batch by model, method and size of card; of one model with --shape
    #[arg(long, conflicts_with = "model")]
    table: bool,
    /// The table as CSV; batch_size is empty where one row does not fit
    #[arg(long, requires = "table", conflicts_with = "json")]
    csv: bool,
    /// Print JSON on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: TrainOverrides,
}

/// How the base weights are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    Lora,
    Qlora,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Output<'a> {
    model: &'a str,
    method: &'static str,
    settings: &'a TrainConfig,
    #[serde(flatten)]
    plan: &'a plan::Plan,
    #[serde(skip_serializing_if = "Option::is_none")]
    vram: Option<&'a Vram>,
}

/// What `--vram` asks.
#[derive(Debug, Serialize)]
struct Vram {
    bytes: u64,
    reserve_bytes: u64,
    /// Whether the settings fit as they are.
    fits: bool,
    limits: Vec<MethodLimits>,
    /// What to change where they don't; None where nothing helps, or nothing has to.
    nearest: Option<Nearest>,
    /// The largest known shape that fits with QLoRA and one row, where nothing else does.
    smaller_model: Option<&'static str>,
}

/// The largest settings of one method.
#[derive(Debug, Serialize)]
struct MethodLimits {
    method: &'static str,
    recompute: bool,
    #[serde(flatten)]
    limits: Limits,
}

impl Plan {
    /// Plans, and prints.
    pub fn run(self) -> Result<()> {
        let config = self.resolve()?;
        let caps = self.caps()?;
        if self.table {
            return self.print_table(&config, caps);
        }
        let checkpoint;
        let model;
        let (name, mut planner) = match (&self.shape, &config.model) {
            (Some(name), _) => {
                model = shape(name)?;
                (name, Planner::new(&model, DType::BF16, caps))
            }
            (None, Some(name)) => {
                checkpoint = model::open(name)?;
                (name, Planner::of_checkpoint(&checkpoint, caps))
            }
            (None, None) => {
                return Err(request("no model was given"))
                    .hint("--shape llama-7b, or --model FOLDER, FILE.gguf or a hub id");
            }
        };
        let plan = planner.plan(&config).map_err(train_error)?;
        let vram = self.vram.map(|size| self.fit(&mut planner, &config, size));
        let vram = vram.transpose()?;
        if self.json {
            return output::print_json(&Output {
                model: name,
                method: method_name(config.quant),
                settings: &config,
                plan: &plan,
                vram: vram.as_ref(),
            });
        }
        output::print(&text::plan(name, &config, &plan))?;
        match vram {
            Some(vram) => output::print(&text::vram(&config, &vram)),
            None => Ok(()),
        }
    }

    fn resolve(&self) -> Result<TrainConfig> {
        let file = self.config.as_deref().map(read).transpose()?;
        let method = TrainOverrides {
            quant: self.method.map(|method| match method {
                Method::Lora => Quant::None,
                Method::Qlora => Quant::Nf4,
            }),
            ..TrainOverrides::default()
        };
        let layers = [file.unwrap_or_default(), self.settings.clone(), method];
        TrainConfig::resolve(layers).or_request()
    }

    fn caps(&self) -> Result<Caps> {
        let Some(device) = &self.settings.device else {
            return Ok(ANY_GPU);
        };
        let device: DeviceSpec = device.parse().or_request()?;
        with_device(device, OpenOptions::default(), ReadCaps)
    }

    fn fit(&self, planner: &mut Planner<'_>, config: &TrainConfig, size: Size) -> Result<Vram> {
        let budget = size.0.saturating_sub(self.reserve.0);
        let fits = planner.peak(config).map_err(train_error)? <= budget;
        let mut limits = Vec::new();
        for quant in [Quant::None, Quant::Nf4] {
            for recompute in [true, false] {
                let config = TrainConfig {
                    quant,
                    recompute,
                    ..config.clone()
                };
                limits.push(MethodLimits {
                    method: method_name(quant),
                    recompute,
                    limits: planner.limits(&config, budget).map_err(train_error)?,
                });
            }
        }
        let nearest = match fits {
            true => None,
            false => planner.nearest(config, budget).map_err(train_error)?,
        };
        let smaller_model = match fits || nearest.is_some() {
            true => None,
            false => largest_shape(config, budget)?,
        };
        Ok(Vram {
            bytes: size.0,
            reserve_bytes: self.reserve.0,
            fits,
            limits,
            nearest,
            smaller_model,
        })
    }

    fn print_table(&self, config: &TrainConfig, caps: Caps) -> Result<()> {
        let names = match &self.shape {
            Some(name) => {
                shape(name)?;
                vec![name.as_str()]
            }
            None => shapes::names().collect(),
        };
        let rows = plan::rows(names, config, caps, self.reserve.0).map_err(train_error)?;
        if self.json {
            #[derive(Serialize)]
            struct Table<'a> {
                settings: &'a TrainConfig,
                reserve_bytes: u64,
                gpu_gib: [u64; 7],
                rows: &'a [plan::Row],
            }
            return output::print_json(&Table {
                settings: config,
                reserve_bytes: self.reserve.0,
                gpu_gib: plan::GPU_GIB,
                rows: &rows,
            });
        }
        output::print(&match self.csv {
            true => text::csv(config, &rows),
            false => text::table(config, self.reserve.0, &rows),
        })
    }
}

fn method_name(quant: Quant) -> &'static str {
    match quant {
        Quant::None => "lora",
        Quant::Nf4 => "qlora",
    }
}

fn shape(name: &str) -> Result<ModelConfig> {
    shapes::named(name)
        .ok_or_else(|| request(format!("unknown shape {name:?}")))
        .hint(format!(
            "--shape {}",
            shapes::names().collect::<Vec<_>>().join(", ")
        ))
}

/// The shape with the most parameters that fits with QLoRA, one row, and these settings else.
fn largest_shape(config: &TrainConfig, budget: u64) -> Result<Option<&'static str>> {
    let config = TrainConfig {
        quant: Quant::Nf4,
        recompute: true,
        ..Setting::BatchSize.with(config, 1)
    };
    let mut largest = None;
    for name in shapes::names() {
        let plan = Planner::new(&shape(name)?, DType::BF16, ANY_GPU)
            .plan(&config)
            .map_err(train_error)?;
        if plan.peak_device_bytes.total <= budget {
            largest = largest.max(Some((plan.base_parameters, name)));
        }
    }
    Ok(largest.map(|(_, name)| name))
}

/// Brings back a device's capabilities.
struct ReadCaps;

impl Job for ReadCaps {
    type Output = Caps;

    fn run<B: Backend>(self, backend: B) -> Result<Caps> {
        Ok(*backend.caps())
    }
}
