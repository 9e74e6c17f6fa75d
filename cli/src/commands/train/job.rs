//! A run on a device.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use anylora_data::Position;
use anylora_engine::{Backend, Side};
use anylora_train::plan::{Plan, load_options, plan_checkpoint};
use anylora_train::prepare;
use anylora_train::{
    RunFolder, Summary, Target, TrainConfig, TrainError, Trainer, adapter_file, run, snapshot,
};
use indicatif::HumanBytes;
use pollster::block_on;

use super::files::{Files, expect_model_and_data};
use super::fit::expect_room;
use super::progress::Progress;
use super::train_error;
use crate::error::{self, Annotate};
use crate::model;
use crate::output;

/// What was asked for.
pub struct Job {
    pub config: TrainConfig,
    pub out: PathBuf,
    pub resume: bool,
    pub dry_run: bool,
    pub memory_limit: Option<u64>,
    pub force: bool,
}

/// What was asked for, with its files open.
pub struct Opened {
    job: Job,
    files: Files,
}

impl Job {
    /// Opens model and data: what is wrong with them shows before a device is opened.
    pub fn open(mut self) -> Result<Opened> {
        expect_model_and_data(&self.config)?;
        if !self.resume && !self.dry_run {
            RunFolder::expect_none(&self.out)
                .map_err(|error| with_way(error, "--out FOLDER".to_owned()))
                .or_request()?;
        }
        let files = Files::open(&mut self.config)?;
        Ok(Opened { job: self, files })
    }
}

impl crate::engine::Job for Opened {
    type Output = ();

    fn run<B: Backend>(self, backend: B) -> Result<()> {
        let Job {
            config,
            out,
            resume,
            dry_run,
            memory_limit,
            force,
        } = &self.job;
        let batches = |position| {
            self.files
                .text
                .batches(Arc::clone(&self.files.data), config, position)
                .map_err(train_error)
        };
        let mut first = batches(Position::default())?;
        let total = prepare::total_steps(config, &first).map_err(train_error)?;
        // Data that can't be trained on shows here.
        first.next_batch().map_err(|error| train_error(error.into()))?;
        if *dry_run {
            return self.show_plan(&backend, total);
        }
        if !force {
            expect_room(&backend, &self.files.checkpoint, config, *memory_limit)?;
        }
        let resumed = match snapshot::newest(out) {
            Ok(found) if *resume => Some(found),
            // Stopped before its first checkpoint, it starts over.
            Err(TrainError::NothingToResume { .. }) if *resume => None,
            Err(error) if *resume => return Err(train_error(error)),
            _ => None,
        };
        let options = load_options(config, &backend);
        let loaded = model::load_with(&backend, &self.files.checkpoint, options)?;
        let first = |target: &Target, side: Side| match &self.files.adapter {
            Some(adapter) => adapter_file::values(adapter, target, side),
            None => Vec::new(),
        };
        let initial: Option<&anylora_train::Initial<'_>> = match &self.files.adapter {
            Some(_) => Some(&first),
            None => None,
        };
        let mut trainer = Trainer::new(loaded, config.clone(), total, initial).map_err(train_error)?;
        if let Some(adapter) = &self.files.adapter {
            adapter_file::check(adapter, trainer.parameters().targets()).map_err(train_error)?;
        }
        let mut position = Position::default();
        if let Some((path, progress)) = resumed {
            snapshot::load(&path, trainer.parameters()).map_err(train_error)?;
            position = progress.position.clone();
            *trainer.progress_mut() = progress;
        }
        let mut source = batches(position)?;
        // The folder comes last: what is wrong with a request leaves none behind.
        let mut folder = if *resume {
            RunFolder::resume(out, config, trainer.progress().step)
        } else {
            RunFolder::create(out, config)
        }
        .map_err(|error| {
            with_way(
                error,
                "--out FOLDER, in a place that can be written to".to_owned(),
            )
        })?;
        let targets = trainer.parameters().targets().to_vec();
        let write = |path: &std::path::Path, values: &[[Vec<f32>; 2]]| {
            Ok(adapter_file::to_adapter(config, &targets, values).write(path)?)
        };
        let mut progress = Progress::new()?;
        let result = block_on(run(
            &mut trainer,
            &mut folder,
            &mut source,
            &self.files.held_out,
            &write,
            &mut |event| progress.observe(event),
        ));
        progress.finish();
        let mended = || {
            format!(
                "when that is mended: anylora train --resume --out {}",
                out.display()
            )
        };
        report(&result.map_err(|error| with_way(error, mended()))?, out)
    }
}

/// An error with its own hint; with `way` where a file couldn't be written, and the run is as it was.
fn with_way(error: TrainError, way: String) -> anyhow::Error {
    let file = matches!(error, TrainError::File { .. });
    let error = train_error(error);
    if file {
        error::note(error, false, Some(way))
    } else {
        error
    }
}

impl Opened {
    fn show_plan<B: Backend>(&self, backend: &B, total: usize) -> Result<()> {
        let config = &self.job.config;
        let Plan {
            peak_device_bytes,
            flops_per_step,
            trainable_parameters,
            base_parameters,
            ..
        } = plan_checkpoint(&self.files.checkpoint, config, *backend.caps()).map_err(train_error)?;
        let mut text = toml::to_string(config).context("the settings could not be written")?;
        text += &format!(
            "\n# {} examples on {}\n# {total} steps; {trainable_parameters} trainable parameters ({:.3} % of {base_parameters})\n\
             # device memory at its highest: {}\n",
            self.files.data.len(),
            backend.info().name,
            100.0 * trainable_parameters as f64 / base_parameters as f64,
            HumanBytes(peak_device_bytes.total),
        );
        for (kind, bytes) in &peak_device_bytes.by_kind {
            text += &format!("#   {kind:12} {}\n", HumanBytes(*bytes));
        }
        text += &format!("# {:.2} TFLOP a step\n", flops_per_step / 1e12);
        output::print(&text)
    }
}

fn report(summary: &Summary, out: &std::path::Path) -> Result<()> {
    let at = out.display();
    let loss = summary
        .final_loss
        .map_or("none".to_owned(), |loss| format!("{loss:.4}"));
    eprintln!(
        "{} steps in {:.1} s, {:.0} tokens/s, loss {loss}, at most {} on the device",
        summary.steps,
        summary.seconds,
        summary.tokens_per_second,
        HumanBytes(summary.peak_device_bytes.total),
    );
    if summary.interrupted {
        return Err(anyhow!("stopped after step {}, with a checkpoint", summary.steps))
            .hint(format!("anylora train --resume --out {at}"));
    }
    if summary.adapter_step != summary.steps {
        eprintln!(
            "the adapter is that of step {}, the best on the held-out data",
            summary.adapter_step
        );
    }
    eprintln!("loss curve: {}", out.join("loss.svg").display());
    output::print(&format!("{}\n", out.join("adapter").display()))
}
