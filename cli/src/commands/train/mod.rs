//! `anylora train`: from a model and data to an adapter.

pub(super) mod files;
pub(super) mod fit;
mod help;
mod job;
pub(super) mod progress;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use anylora_engine::DeviceSpec;
use anylora_engine_wgpu::OpenOptions;
use anylora_train::{TrainConfig, TrainError, TrainOverrides};
use clap::Args;

pub use help::described;

use super::plan::size::Size;
use crate::engine::with_device;
use crate::error::{self, Annotate, request};

/// Train a LoRA adapter, on a model in 4 bits (QLoRA) or as it is (LoRA).
///
/// The run folder gets `adapter/` (loads in PEFT and in `anylora generate --adapter`), `metrics.jsonl`, `loss.svg`,
/// `checkpoints/`, `config.toml` and `summary.json`. Ctrl-C finishes the step, writes a checkpoint and says how to go
/// on.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora train --model HuggingFaceTB/SmolLM2-135M-Instruct --data train.jsonl --out runs/first\n  \
    anylora train --model model.gguf --data train.jsonl --eval-data test.jsonl --out runs/second --rank 8 --epochs 3\n  \
    anylora train --config run.toml --lr 1e-4 --out runs/third\n  \
    anylora train --resume --out runs/third")]
pub struct Train {
    /// Settings in TOML, under the names of these options; options given here override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on from the newest checkpoint of the run in --out
    #[arg(long)]
    resume: bool,
    /// Show the resolved settings, the steps, and the memory that the run will take, and stop
    #[arg(long)]
    dry_run: bool,
    /// Hold no more than this in device memory: 12GiB, 800MB [default: all that the device has]
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Size>,
    /// Begin even where the plan says that the memory is not enough
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: TrainOverrides,
}

impl Train {
    /// Trains.
    pub fn run(self) -> Result<()> {
        let (config, out) = self.resolve()?;
        let device: DeviceSpec = config.device.parse().or_request()?;
        let job = job::Job {
            config,
            out,
            resume: self.resume,
            dry_run: self.dry_run,
            memory_limit: self.memory_limit.map(|size| size.0),
            force: self.force,
        };
        let options = OpenOptions {
            memory_limit: job.memory_limit,
            ..OpenOptions::default()
        };
        with_device(device, options, job.open()?)
    }

    /// Defaults, then `ANYLORA_DEVICE`, the file, the options. A resumed run has the settings that it began with.
    fn resolve(&self) -> Result<(TrainConfig, PathBuf)> {
        let environment = TrainOverrides {
            device: std::env::var("ANYLORA_DEVICE").ok(),
            ..TrainOverrides::default()
        };
        let file = match &self.config {
            Some(path) => read(path)?,
            None => TrainOverrides::default(),
        };
        let out = self.settings.out.clone().or(file.out.clone());
        let out = out
            .ok_or_else(|| request("no run folder was given"))
            .hint("--out runs/NAME")?;
        if !self.resume {
            let layers = [environment, file, self.settings.clone()];
            return Ok((TrainConfig::resolve(layers).or_request()?, out));
        }
        let begun_with = out.join("config.toml");
        if !begun_with.is_file() {
            return Err(train_error(TrainError::NothingToResume { path: out }));
        }
        let begun = TrainConfig::resolve([read(&begun_with)?]).or_request()?;
        let device = self.settings.device.clone().or(environment.device);
        let mut asked = begun.clone();
        file.apply(&mut asked);
        self.settings.clone().apply(&mut asked);
        asked.out.clone_from(&begun.out);
        asked.device.clone_from(&begun.device);
        if asked != begun {
            return Err(request(format!(
                "{} began with other settings, and a resumed run keeps its own",
                out.display()
            )))
            .hint(format!("anylora train --resume --out {}", out.display()));
        }
        Ok((
            TrainConfig {
                device: device.unwrap_or_else(|| begun.device.clone()),
                ..begun
            },
            out,
        ))
    }
}

/// Settings of a TOML file.
pub(super) fn read(path: &Path) -> Result<TrainOverrides> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} could not be read", path.display()))
        .or_request()
        .hint(format!("ls -l {}", path.display()))?;
    TrainOverrides::from_toml(&text)
        .with_context(|| format!("{} has a mistake", path.display()))
        .or_request()
        .hint("anylora train --help lists the settings")
}

/// What a user can mend is a wrong request; the rest is a failed run.
pub(super) fn train_error(error: TrainError) -> anyhow::Error {
    let wrong = matches!(
        error,
        TrainError::RunExists { .. }
            | TrainError::ResultsExist { .. }
            | TrainError::OtherResults { .. }
            | TrainError::NothingToResume { .. }
            | TrainError::Adapter(_)
            | TrainError::DataFile(_)
            | TrainError::Encode(_)
            | TrainError::Format(_)
            | TrainError::Task(_)
            | TrainError::OtherData { .. }
            | TrainError::NoTrainedTokens
            | TrainError::Data(_)
    );
    match error {
        TrainError::Model(error) => crate::model::model_error(error),
        TrainError::Checkpoint(error) => crate::model::checkpoint_error(error),
        error => {
            let hint = error.hint();
            error::note(error.into(), wrong, hint)
        }
    }
}
