//! The report: one page that opens anywhere, the same as Markdown and JSON, and its tables and plots as files.

mod bars;
mod curves;
mod page;
mod plots;
mod tables;
mod theme;

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::analysis::{Analysis, WARM_UP, analyse};
use super::extrapolation::{Extrapolated, extrapolate};
use super::files::{Evaluation, Finished};
use super::published::{Published, SOURCES, Source, published};
use super::recommendation::{NotRun, Recommendation, recommend};
use super::settings::Settings;
use super::statistics::LEVEL;
use crate::run::PeakBytes;
use crate::{Method, TrainError, atomic};

/// What only the caller knows of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct About {
    /// This program and its version.
    pub program: String,
    /// The day, as `2026-11-25`.
    pub date: String,
    /// The device's name.
    pub device: String,
    /// The kind of device.
    pub device_kind: String,
    /// The engine and the API that it is driven through.
    pub engine: String,
    /// The driver and its version.
    pub driver: String,
    /// The device's memory in bytes, where it is known.
    pub memory_bytes: Option<u64>,
    /// Operating system and processor architecture.
    pub system: String,
    /// The base model as it was asked for.
    pub model: String,
    /// Its `model_type`.
    pub family: String,
    /// Numbers of the base model.
    pub base_parameters: usize,
    /// Examples of the training data.
    pub examples: usize,
    /// Examples of the held-out data.
    pub held_out_examples: Option<usize>,
    /// The label words, where the held-out data are a classification task.
    pub labels: Vec<String>,
}

/// One run, in the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunFigures {
    /// The method.
    pub method: Method,
    /// Its name for people.
    pub label: &'static str,
    /// The seed.
    pub seed: u64,
    /// Steps done.
    pub steps: usize,
    /// Of training.
    pub seconds: f64,
    /// Of the last step.
    pub final_loss: Option<f32>,
    /// On held-out data.
    pub eval_loss: Option<f32>,
    /// On held-out data, beside the loss.
    pub evaluation: Evaluation,
    /// The most device memory in use at once.
    pub peak_device_bytes: PeakBytes,
    /// Processes that it took: more than one where it was killed or stopped.
    pub processes: usize,
}

/// What was compared, and what came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Of the program, the device, model and data.
    pub about: About,
    /// The command line.
    pub command: String,
    /// All settings of the runs as TOML, but what methods and seeds set.
    pub settings: String,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// Bytes that a run may take.
    pub memory_limit: Option<u64>,
    /// The level of all intervals.
    pub level: f64,
    /// Steps left out of timings after a process began.
    pub warm_up_steps: usize,
    /// What to take.
    pub recommendation: Option<Recommendation>,
    /// Methods that there was no memory for.
    pub not_run: Vec<NotRun>,
    /// The figures.
    #[serde(flatten)]
    pub analysis: Analysis,
    /// Each run.
    pub runs: Vec<RunFigures>,
    /// Larger models, by plan.
    pub larger_models: Vec<Extrapolated>,
    /// What others published.
    pub published: Vec<Published>,
    /// Where.
    pub sources: [Source; 3],
}

impl Report {
    /// Makes a report out of finished runs: all seeds of each method that is not in `not_run`.
    ///
    /// # Errors
    /// Those of [`analyse`]; of planning.
    pub fn new(
        about: About,
        settings: &Settings,
        finished: &[Finished],
        not_run: Vec<NotRun>,
    ) -> Result<Self, TrainError> {
        let was_run = |method: &&Method| !not_run.iter().any(|other| other.method == **method);
        let methods: Vec<Method> = settings.methods.iter().filter(was_run).copied().collect();
        let analysis = analyse(&methods, finished)?;
        let text = toml::to_string(&settings.settings)
            .map_err(|error| TrainError::Compare(format!("the settings could not be written: {error}")))?;
        let own = |line: &&str| {
            let name = line.split(" = ").next().unwrap_or_default();
            !["quant", "double_quant", "seed", "out"].contains(&name)
        };
        let shared: Vec<&str> = text.lines().filter(own).collect();
        Ok(Self {
            about,
            command: settings.command.clone(),
            settings: shared.join("\n"),
            seeds: settings.seeds().collect(),
            memory_limit: settings.memory_limit,
            level: LEVEL,
            warm_up_steps: WARM_UP,
            recommendation: recommend(&analysis, &not_run, settings.memory_limit),
            not_run,
            runs: finished.iter().map(run_figures).collect(),
            larger_models: extrapolate(&settings.methods, &settings.settings)?,
            published: published(&analysis)?,
            analysis,
            sources: SOURCES,
        })
    }

    /// Writes `report.html`, `report.md`, `report.json`, `tables/*.csv` and `plots/*.svg`, each whole or not at all.
    /// Returns the page's path.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write(&self, out: &Path, finished: &[Finished]) -> Result<PathBuf, TrainError> {
        let plots = plots::plots(self);
        for folder in ["plots", "tables"] {
            let path = out.join(folder);
            std::fs::create_dir_all(&path).map_err(|error| TrainError::file(&path, error))?;
        }
        for plot in &plots {
            write(
                &out.join("plots").join(format!("{}.svg", plot.name)),
                &theme::standalone(&plot.svg),
            )?;
        }
        for (name, table) in tables::tables(self, finished)? {
            write(&out.join("tables").join(format!("{name}.csv")), &table)?;
        }
        let file = out.join("report.json");
        let mut json = serde_json::to_string_pretty(self).map_err(|error| TrainError::file(&file, error))?;
        json.push('\n');
        write(&file, &json)?;
        write(&out.join("report.md"), &page::markdown(self, &plots)?)?;
        let file = out.join("report.html");
        write(&file, &page::html(self, &plots)?)?;
        Ok(file)
    }
}

fn write(path: &Path, text: &str) -> Result<(), TrainError> {
    atomic::write(path, text.as_bytes()).map_err(|error| TrainError::file(path, error))
}

fn run_figures(run: &Finished) -> RunFigures {
    RunFigures {
        method: run.planned.method,
        label: run.planned.method.label(),
        seed: run.planned.seed,
        steps: run.summary.steps,
        seconds: run.summary.seconds,
        final_loss: run.summary.final_loss,
        eval_loss: run.summary.eval_loss,
        evaluation: run.evaluation.clone(),
        peak_device_bytes: run.measured.peak_device_bytes.clone(),
        processes: run.measured.starts.len(),
    }
}
