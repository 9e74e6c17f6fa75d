//! `anylora compare`: LoRA and QLoRA, head to head.

mod held_out;
mod job;

use std::path::PathBuf;

use anyhow::Result;
use anylora_engine::DeviceSpec;
use anylora_engine_wgpu::OpenOptions;
use anylora_train::compare::Settings;
use anylora_train::evaluation::AnswerSettings;
use anylora_train::{Dtype, HeldOutTask, Method, TrainConfig, TrainError, TrainOverrides};
use clap::Args;

use super::plan::size::Size;
use super::train::{self, files, read, train_error};
use crate::engine::with_device;
use crate::error::{Annotate, request};

/// Train LoRA and QLoRA on the same data, seeds and batches, evaluate each, and report what they cost and are worth.
///
/// Held-out data (--eval-data) are measured by their loss and, where their content says what they are, by more:
/// accuracy and macro F1 of records with `label` and `completion` and of GLUE's own TSV files of SST-2 and MNLI; exact
/// match and F1 of SQuAD's JSON files (1.1 and 2.0); ROUGE-1, -2 and -L of records with a text and its summary
/// (`document`, `article`, `dialogue` or `text`; `summary` or `highlights`). GLUE's and SQuAD's files and summaries are
/// nothing that training reads: of them the scores are all. All is counted as `anylora evaluate` does it, with a bootstrap
/// interval over examples and Student's t interval over seeds.
///
/// The folder gets `report.html` (one file that opens anywhere), `report.md`, `report.json`, `tables/` (CSV), `plots/`
/// (SVG), and under `runs/` a run folder for each method and seed. Whatever it is stopped in, --resume goes on there.
///
/// All options of `anylora train` shape the runs but --quant and --double-quant, which --methods sets; dense weights
/// are held in bf16 where --dtype says nothing else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora compare --model HuggingFaceTB/SmolLM2-135M-Instruct --data train.jsonl --eval-data test.jsonl \\\n    \
    --steps 200 --seeds 3 --out compare/first\n  \
    anylora compare --model model.gguf --data train.jsonl --eval-data dev-v2.0.json --max-tokens 16 --out compare/qa\n  \
    anylora compare --config run.toml --methods lora,qlora-dq --memory-limit 12GiB --out compare/second\n  \
    anylora compare --resume --out compare/first")]
pub struct Compare {
    /// Settings in TOML, under the names of these options; options given here override them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is compared; the first is what the others are measured against [default: lora,qlora,qlora-dq]
    #[arg(long, value_name = "METHOD,...", value_enum, value_delimiter = ',')]
    methods: Vec<Method>,
    /// Runs of each method, with seeds that count up from --seed [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    seeds: Option<u16>,
    /// Go on with the comparison in --out; one that is done is reported again
    #[arg(long)]
    resume: bool,
    /// Hold no more than this in device memory: 12GiB, 800MB. Methods that take more are not run
    #[arg(long, value_name = "SIZE")]
    memory_limit: Option<Size>,
    /// Run methods too that by plan take more memory than there is
    #[arg(long)]
    force: bool,
    /// Print the report as JSON on stdout, instead of the page's path
    #[arg(long)]
    json: bool,
    /// What the held-out data are evaluated as, beside their loss
    #[arg(long, value_enum, value_name = "TASK", help_heading = "Evaluation")]
    task: Option<HeldOutTask>,
    #[command(flatten, next_help_heading = "Evaluation")]
    answers: AnswerSettings,
    #[command(flatten)]
    settings: TrainOverrides,
}

/// The command with groups and defaults, as `anylora train` has them, and without what methods set.
pub fn described(command: clap::Command) -> clap::Command {
    let command = train::described(command);
    ["quant", "double_quant"]
        .into_iter()
        .fold(command, |command, own| {
            command.mut_arg(own, |argument| argument.hide(true))
        })
}

impl Compare {
    /// Compares.
    pub fn run(self) -> Result<()> {
        let (settings, out, device) = self.resolve()?;
        let device: DeviceSpec = device.parse().or_request()?;
        let options = OpenOptions {
            memory_limit: settings.memory_limit,
            ..OpenOptions::default()
        };
        let job = job::Job {
            settings,
            out,
            resume: self.resume,
            force: self.force,
            json: self.json,
        };
        with_device(device, options, job.open()?)
    }

    /// The settings, the folder, and the device that it goes on.
    fn resolve(&self) -> Result<(Settings, PathBuf, String)> {
        if self.settings.quant.is_some() || self.settings.double_quant.is_some() {
            return Err(request("the methods say how the base model is held, not --quant"))
                .hint("--methods lora,qlora,qlora-dq");
        }
        let environment = std::env::var("ANYLORA_DEVICE").ok();
        let file = self.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let out = self.settings.out.clone().or(file.out.clone());
        let out = out
            .ok_or_else(|| request("no folder was given"))
            .hint("--out compare/NAME")?;
        if self.resume {
            return self.resumed(&file, out, environment);
        }
        let base = TrainOverrides {
            dtype: Some(Dtype::Bf16),
            device: environment,
            ..TrainOverrides::default()
        };
        let layers = [base, file, self.settings.clone()];
        let config = Method::QloraDq.configure(&TrainConfig::resolve(layers).or_request()?);
        files::expect_model_and_data(&config)?;
        let needs_data = !matches!(self.task, None | Some(HeldOutTask::Auto | HeldOutTask::None));
        if needs_data && config.eval_data.is_none() {
            return Err(request(
                "--task says what the held-out data are, and there are none",
            ))
            .hint("--eval-data FILE");
        }
        let settings = Settings {
            methods: match self.methods.is_empty() {
                true => Method::ALL.to_vec(),
                false => self.methods.clone(),
            },
            seeds: usize::from(self.seeds.unwrap_or(2)),
            memory_limit: self.memory_limit.map(|size| size.0),
            task: self.task.unwrap_or(HeldOutTask::Auto),
            command: command_line(),
            answers: self.answers.clone(),
            settings: config,
        };
        let twice = |(place, method): (usize, &Method)| settings.methods[..place].contains(method);
        if settings.methods.iter().enumerate().any(twice) {
            return Err(request("--methods names one twice")).hint("--methods lora,qlora,qlora-dq");
        }
        if Settings::exists(&out) {
            return Err(train_error(TrainError::RunExists { path: out }));
        }
        let device = settings.settings.device.clone();
        Ok((settings, out, device))
    }

    /// A comparison that goes on has the settings that it began with.
    fn resumed(
        &self,
        file: &TrainOverrides,
        out: PathBuf,
        environment: Option<String>,
    ) -> Result<(Settings, PathBuf, String)> {
        let begun = Settings::read(&out).map_err(train_error)?;
        let device = self.settings.device.clone().or(environment);
        let mut asked = begun.settings.clone();
        file.clone().apply(&mut asked);
        self.settings.clone().apply(&mut asked);
        let mut asked = Method::QloraDq.configure(&asked);
        asked.out.clone_from(&begun.settings.out);
        asked.device.clone_from(&begun.settings.device);
        let same = asked == begun.settings
            && (self.methods.is_empty() || self.methods == begun.methods)
            && self.task.is_none_or(|task| task == begun.task)
            && (self.answers == AnswerSettings::default() || self.answers == begun.answers)
            && self.seeds.is_none_or(|seeds| usize::from(seeds) == begun.seeds)
            && self
                .memory_limit
                .is_none_or(|size| Some(size.0) == begun.memory_limit);
        if !same {
            return Err(request(format!(
                "{} began with other settings, and a resumed comparison keeps its own",
                out.display()
            )))
            .hint(format!("anylora compare --resume --out {}", out.display()));
        }
        let device = device.unwrap_or_else(|| begun.settings.device.clone());
        Ok((begun, out, device))
    }
}

/// What was typed, as a shell understands it.
fn command_line() -> String {
    let arguments = std::env::args_os().skip(1);
    let quoted = arguments.map(|argument| quoted(&argument.to_string_lossy()));
    std::iter::once("anylora".to_owned())
        .chain(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./,:=+@%".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn arguments_survive_a_shell() {
        assert_eq!(quoted("--lr=1e-3"), "--lr=1e-3");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
