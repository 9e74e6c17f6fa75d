//! A comparison on a device.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow};
use anylora_data::Position;
use anylora_engine::Backend;
use anylora_train::compare::report::{About, Report};
use anylora_train::compare::{Finished, Inputs, NotRun, Outcome, Planned, RunEvent, Settings, run_one};
use anylora_train::plan::Planner;
use anylora_train::{Method, TrainConfig, TrainError, prepare};
use pollster::block_on;

use super::held_out::{self, Evaluated};
use super::train_error;
use crate::commands::train::files::Files;
use crate::commands::train::fit::expect_room;
use crate::commands::train::progress::Progress;
use crate::engine::memory_bytes;
use crate::error::Annotate;
use crate::output;

/// What was asked for.
pub struct Job {
    pub settings: Settings,
    pub out: PathBuf,
    pub resume: bool,
    pub force: bool,
    pub json: bool,
}

/// The same with its files open.
pub struct Opened {
    job: Job,
    /// The settings of the runs; an adapter to start from has changed some.
    config: TrainConfig,
    files: Files,
    held_out_examples: Option<usize>,
    evaluated: Option<Evaluated>,
}

impl Job {
    /// Opens model and data: what is wrong with them shows before a device is opened.
    pub fn open(self) -> Result<Opened> {
        let mut config = self.settings.settings.clone();
        let eval_data = config.eval_data.clone();
        let form = match &eval_data {
            Some(path) => Some(held_out::form(path, &self.settings)?),
            None => None,
        };
        if let Some((_, false)) = form {
            config.eval_data = None;
        }
        let files = Files::open(&mut config)?;
        config.eval_data.clone_from(&eval_data);
        let (mut evaluated, mut held_out_examples) = (None, None);
        if let (Some(path), Some((form, _))) = (&eval_data, form) {
            evaluated = Evaluated::open(path, form, &self.settings, &files)?;
            held_out_examples = Some(match &evaluated {
                Some(evaluated) => evaluated.task().len(),
                None => prepare::open(path, config.format.as_deref())
                    .map_err(train_error)?
                    .len(),
            });
        }
        Ok(Opened {
            job: self,
            config,
            files,
            held_out_examples,
            evaluated,
        })
    }
}

impl crate::engine::Job for Opened {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let Job {
            settings,
            out,
            resume,
            json,
            ..
        } = &self.job;
        // Data that can't be trained on show here.
        let mut first = self
            .files
            .text
            .batches(Arc::clone(&self.files.data), &self.config, Position::default())
            .map_err(train_error)?;
        first.next_batch().map_err(|error| train_error(error.into()))?;
        let not_run = self.without_room(&backend)?;
        if !resume {
            settings.create(out).map_err(train_error)?;
        }
        let methods: Vec<Method> = settings
            .methods
            .iter()
            .copied()
            .filter(|method| !not_run.iter().any(|other| other.method == *method))
            .collect();
        let finished = self.train(&backend, &settings.runs(&methods))?;
        let report = Report::new(self.about(&backend)?, settings, &finished, not_run).map_err(train_error)?;
        let page = report.write(out, &finished).map_err(train_error)?;
        if let Some(advice) = &report.recommendation {
            eprintln!("take {}", advice.label);
            for reason in &advice.reasons {
                eprintln!("- {reason}");
            }
        }
        match json {
            true => output::print_json(&report),
            false => output::print(&format!("{}\n", page.display())),
        }
    }
}

impl Opened {
    /// The methods that by plan take more than there is; an error where all do.
    fn without_room<B: Backend>(&self, backend: &B) -> Result<Vec<NotRun>> {
        let Job { settings, force, .. } = &self.job;
        let limit = settings.memory_limit;
        let room = limit.into_iter().chain(memory_bytes(backend.info())).min();
        let Some(room) = room.filter(|_| !force) else {
            return Ok(Vec::new());
        };
        let mut planner = Planner::of_checkpoint(&self.files.checkpoint, *backend.caps());
        let mut not_run = Vec::new();
        for &method in &settings.methods {
            let config = method.configure(&self.config);
            let peak_bytes = planner.peak(&config).map_err(train_error)?;
            if peak_bytes > room {
                not_run.push(NotRun {
                    method,
                    label: method.label(),
                    peak_bytes,
                });
            }
        }
        if not_run.len() == settings.methods.len()
            && let Some(leanest) = not_run.iter().min_by_key(|method| method.peak_bytes)
        {
            let config = leanest.method.configure(&self.config);
            expect_room(backend, &self.files.checkpoint, &config, limit)?;
        }
        for method in &not_run {
            let takes = indicatif::HumanBytes(method.peak_bytes);
            eprintln!(
                "{} is left out: it takes {takes} of device memory, and there are {}",
                method.label,
                indicatif::HumanBytes(room)
            );
        }
        Ok(not_run)
    }

    /// Goes through all runs; those that are done already are read.
    fn train<B: Backend>(&self, backend: &B, runs: &[Planned]) -> Result<Vec<Finished>> {
        let Job { out, .. } = &self.job;
        let inputs = Inputs {
            checkpoint: &self.files.checkpoint,
            text: &self.files.text,
            data: &self.files.data,
            held_out: &self.files.held_out,
            adapter: self.files.adapter.as_ref(),
            evaluating: self.evaluated.as_ref().map(Evaluated::evaluating),
        };
        let mut progress = Progress::new()?;
        let mut finished = Vec::new();
        for (index, &planned) in runs.iter().enumerate() {
            if let Some(run) = Finished::read(out, planned).map_err(train_error)? {
                finished.push(run);
                continue;
            }
            let folder = planned.folder(out);
            progress.say(&format!(
                "run {} of {}: {}, seed {}",
                index + 1,
                runs.len(),
                planned.method.label(),
                planned.seed
            ));
            let config = planned.config(&self.config);
            let outcome = block_on(run_one(backend, &inputs, &config, &folder, &mut |event| {
                show(&mut progress, event)
            }));
            let outcome = outcome.map_err(told).hint(format!(
                "anylora compare --resume --out {} goes on where it stopped",
                out.display()
            ));
            if let Outcome::Stopped { step } = outcome? {
                progress.finish();
                return Err(anyhow!(
                    "stopped in run {} of {} after step {step}, with a checkpoint",
                    index + 1,
                    runs.len()
                ))
                .hint(format!("anylora compare --resume --out {}", out.display()));
            }
            let run = Finished::read(out, planned).map_err(train_error)?;
            finished.push(run.ok_or_else(|| anyhow!("{} is not complete", folder.display()))?);
        }
        progress.finish();
        Ok(finished)
    }

    fn about<B: Backend>(&self, backend: &B) -> Result<About> {
        let device = backend.info();
        let config = &self.config;
        let specs =
            anylora_models::layout(self.files.checkpoint.config()).map_err(crate::model::model_error)?;
        let numbers = |spec: &anylora_models::TensorSpec| spec.shape.iter().product::<usize>();
        let words = self
            .evaluated
            .iter()
            .flat_map(|evaluated| evaluated.task().words());
        Ok(About {
            program: format!("anylora {}", env!("CARGO_PKG_VERSION")),
            date: jiff::Timestamp::now().to_string().chars().take(10).collect(),
            device: device.name.clone(),
            device_kind: device.kind.to_string(),
            engine: format!("{} ({})", device.engine, device.backend),
            driver: device.driver.clone(),
            memory_bytes: memory_bytes(device),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            model: short(config.model.as_deref().unwrap_or_default()),
            family: self.files.checkpoint.config().model_type.clone(),
            base_parameters: specs.iter().map(numbers).sum(),
            examples: self.files.data.len(),
            held_out_examples: self.held_out_examples,
            labels: words.map(|word| word.trim().to_owned()).collect(),
        })
    }
}

/// An error of a run, with what is known of it.
fn told(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<TrainError>() {
        Ok(error) => train_error(error),
        Err(error) => error,
    }
}

/// A model's name: of a path the last part, of a hub id all of it.
fn short(model: &str) -> String {
    let path = Path::new(model);
    match path.file_name() {
        Some(name) if path.exists() => name.to_string_lossy().into_owned(),
        _ => model.to_owned(),
    }
}

fn show(progress: &mut Progress, event: RunEvent<'_>) -> std::ops::ControlFlow<()> {
    match event {
        RunEvent::Train(event) => progress.observe(event),
        RunEvent::Evaluating { done, total } => {
            progress.count("evaluating", done, total);
            std::ops::ControlFlow::Continue(())
        }
        RunEvent::Loading { .. } => std::ops::ControlFlow::Continue(()),
    }
}
