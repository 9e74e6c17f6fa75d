//! `anylora plan`: what a run takes, and what fits.

mod device;
mod memory;
pub(super) mod size;
mod text;

use std::path::PathBuf;

use anyhow::Result;
use anylora_checkpoint::ModelConfig;
use anylora_engine::{Caps, DType, DeviceSpec, Tier};
use anylora_generate::Prompter;
use anylora_train::plan::{self, Planner, shapes};
use anylora_train::{PeakBytes, Quant, TrainConfig, TrainOverrides};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::train::{read, train_error};
use crate::engine::resident_bytes;
use crate::error::{Annotate, request};
use crate::{model, output};
use device::{Surveyed, survey};
use memory::{Vram, fit};
use size::Size;

/// A device that refuses nothing, with 16-bit activations: what GPUs for training are.
const ANY_GPU: Caps = Caps {
    tier: Tier {
        f16: true,
        bf16: false,
        subgroups: true,
        cooperative_matrix: false,
    },
    ggml: false,
    ..Caps::HOST
};

/// Show what a training run takes before it starts: memory by kind, operations and bytes a step.
///
/// The training loop itself runs on a device that allocates nothing and counts: the bytes are exact for our own
/// buffers. All options of `anylora train` that change the figures are understood. Without --device the plan is for a
/// GPU without limits on buffers. With it (`--device auto`) the device is opened, what the driver adds is measured, and
/// the time of a step is estimated from the rates of a product, a sum and an empty kernel, which are measured once a
/// device, for two seconds.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora plan --shape llama-7b --method qlora --batch-size 8 --max-length 512\n  \
    anylora plan --model HuggingFaceTB/SmolLM2-135M-Instruct --method lora --rank 8 --json\n  \
    anylora plan --model model.gguf --device auto\n  \
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
    /// With --device: don't measure, and estimate no time
    #[arg(long)]
    no_probe: bool,
    /// With --device: measure again, where the figures in the cache are of a busy machine
    #[arg(long, conflicts_with = "no_probe")]
    probe_again: bool,
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
    /// Host memory, by kind.
    peak_host_bytes: &'a PeakBytes,
    /// The device that was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<&'a Surveyed>,
    /// From the device's ceilings.
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_seconds_per_step: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vram: Option<&'a Vram>,
}

impl Plan {
    /// Plans, and prints.
    pub fn run(self) -> Result<()> {
        let config = self.resolve()?;
        if self.table {
            let device = self.device(|spec| survey(spec, None))?;
            return self.print_table(&config, caps(device.as_ref()));
        }
        match (&self.shape, &config.model) {
            (Some(name), _) => {
                let model = shape(name)?;
                // A shape is planned as it is published.
                let device = self.survey(&config, DType::BF16)?;
                let planner = Planner::new(&model, DType::BF16, caps(device.as_ref()));
                self.print(name, &config, planner, device.as_ref(), 0)
            }
            (None, Some(name)) => {
                let checkpoint = model::open(name)?;
                // A run has it too, and it counts to what the program takes.
                let _tokenizer = Prompter::new(&checkpoint).ok();
                let device = self.survey(&config, plan::stored_dtype(&checkpoint))?;
                let planner = Planner::of_checkpoint(&checkpoint, caps(device.as_ref()));
                let files = memory::files_bytes(&model::path(name)?);
                self.print(name, &config, planner, device.as_ref(), files)
            }
            (None, None) => Err(request("no model was given"))
                .hint("--shape llama-7b, or --model FOLDER, FILE.gguf or a hub id"),
        }
    }

    fn device(&self, survey: impl FnOnce(DeviceSpec) -> Result<Surveyed>) -> Result<Option<Surveyed>> {
        let Some(device) = &self.settings.device else {
            return Ok(None);
        };
        survey(device.parse().or_request()?).map(Some)
    }

    /// The device that was asked for, with its ceilings where a plan needs them.
    fn survey(&self, config: &TrainConfig, stored: DType) -> Result<Option<Surveyed>> {
        let probe = (!self.no_probe).then(|| device::probe(config, stored, self.probe_again));
        self.device(|spec| survey(spec, probe))
    }

    fn print(
        &self,
        name: &str,
        config: &TrainConfig,
        mut planner: Planner<'_>,
        device: Option<&Surveyed>,
        files: u64,
    ) -> Result<()> {
        let plan = planner.plan(config).map_err(train_error)?;
        let on_cpu = device.is_some_and(Surveyed::is_host);
        let program = resident_bytes().unwrap_or(0);
        let host = plan.host.peak(&plan, on_cpu, program, files);
        let seconds = device
            .and_then(|device| device.ceilings)
            .map(|ceilings| ceilings.step_seconds(&plan));
        let vram = self
            .vram
            .map(|size| fit(&mut planner, config, size, self.reserve));
        let vram = vram.transpose()?;
        if self.json {
            return output::print_json(&Output {
                model: name,
                method: method_name(config.quant),
                settings: config,
                plan: &plan,
                peak_host_bytes: &host,
                device,
                estimated_seconds_per_step: seconds,
                vram: vram.as_ref(),
            });
        }
        output::print(&text::plan(name, config, &plan))?;
        output::print(&text::machine(&host, device, seconds))?;
        match vram {
            Some(vram) => output::print(&text::vram(config, &vram)),
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

/// The capabilities that are planned for.
fn caps(device: Option<&Surveyed>) -> Caps {
    device.map_or(ANY_GPU, |device| device.caps)
}
