//! One run of a comparison: trains an adapter as `anylora train` does, then evaluates it on the model that it was
//! trained on. Whatever it was killed in, it goes on with.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::{Batch, Dataset, Encoder, Position};
use anylora_engine::{Backend, Side};
use anylora_models::Loader;

use super::files::{Classified, Evaluation, Measured, trained};
use crate::evaluation::{EvalOptions, Task, classify};
use crate::plan::load_options;
use crate::prepare::{self, Text};
use crate::{
    Event, Initial, PeakBytes, RunFolder, Target, TrainConfig, TrainError, Trainer, adapter_file, run,
    snapshot,
};

/// Rows of a pass of the evaluation.
const EVAL_ROWS: usize = 8;

/// What all runs have in common.
pub struct Inputs<'a> {
    /// The base model.
    pub checkpoint: &'a Checkpoint,
    /// The text side; methods and seeds change nothing in it.
    pub text: &'a Text,
    /// Training data.
    pub data: &'a Arc<Dataset>,
    /// Held-out batches; their loss is measured.
    pub held_out: &'a [Batch],
    /// What every run starts from, instead of a new adapter.
    pub adapter: Option<&'a Adapter>,
    /// The held-out data as a classification task, where they are one, with the encoder for its texts.
    pub task: Option<(&'a Task, &'a Encoder)>,
}

/// What goes on.
#[derive(Clone, Copy, Debug)]
pub enum RunEvent<'a> {
    /// The model is being put on the device.
    Loading {
        /// Tensors done.
        done: usize,
        /// Tensors in all.
        total: usize,
    },
    /// Training.
    Train(&'a Event),
    /// The trained adapter is being evaluated.
    Classifying {
        /// Cases done.
        done: usize,
        /// Cases in all.
        total: usize,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Trained and evaluated.
    Done,
    /// The observer stopped it after this step, with a checkpoint.
    Stopped {
        /// Steps done.
        step: usize,
    },
}

/// Trains and evaluates one run in its folder, from where it stands there.
///
/// # Errors
/// Those of training, loading and evaluation. The last checkpoint stays.
pub async fn run_one<B: Backend>(
    backend: &B,
    inputs: &Inputs<'_>,
    config: &TrainConfig,
    folder: &Path,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Outcome, TrainError> {
    let total_steps = prepare::total_steps(config, &batches(inputs, config, Position::default())?)?;
    backend.ledger().reset_peak();
    let mut trainer = trainer(backend, inputs, config, total_steps, observe)?;
    let begun = folder.join("config.toml").exists();
    let mut position = Position::default();
    match snapshot::newest(folder) {
        Ok((path, progress)) => {
            snapshot::load(&path, trainer.parameters())?;
            position = progress.position.clone();
            *trainer.progress_mut() = progress;
        }
        // Stopped before its first checkpoint, it starts over.
        Err(TrainError::NothingToResume { .. }) => {}
        Err(error) => return Err(error),
    }
    if trained(folder)?.is_none() {
        let run_folder = match begun {
            true => RunFolder::resume(folder, config, trainer.progress().step)?,
            false => RunFolder::create(folder, config)?,
        };
        let summary = train(&mut trainer, inputs, run_folder, position, observe).await?;
        if summary.interrupted {
            return Ok(Outcome::Stopped { step: summary.steps });
        }
    }
    evaluate(&mut trainer, inputs, observe).await?.write(folder)?;
    Ok(Outcome::Done)
}

fn batches(
    inputs: &Inputs<'_>,
    config: &TrainConfig,
    position: Position,
) -> Result<anylora_data::Batches, TrainError> {
    inputs.text.batches(Arc::clone(inputs.data), config, position)
}

fn trainer<B: Backend>(
    backend: &B,
    inputs: &Inputs<'_>,
    config: &TrainConfig,
    total_steps: usize,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Trainer<B>, TrainError> {
    let loading = |done, total| {
        // A load is short; who wants to stop is heard at the first step.
        observe(RunEvent::Loading { done, total }).is_break();
    };
    let model = Loader::load(backend, inputs.checkpoint, load_options(config, backend), loading)?;
    let Some(adapter) = inputs.adapter else {
        return Trainer::new(model, config.clone(), total_steps, None);
    };
    let first = |target: &Target, side: Side| adapter_file::values(adapter, target, side);
    let initial: &Initial<'_> = &first;
    let trainer = Trainer::new(model, config.clone(), total_steps, Some(initial))?;
    adapter_file::check(adapter, trainer.parameters().targets())?;
    Ok(trainer)
}

/// Trains to the end, and keeps books of what only this process sees.
async fn train<B: Backend>(
    trainer: &mut Trainer<B>,
    inputs: &Inputs<'_>,
    mut folder: RunFolder,
    position: Position,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<crate::Summary, TrainError> {
    let config = trainer.config().clone();
    let mut source = batches(inputs, &config, position)?;
    let path = folder.path().to_owned();
    let mut measured = Measured::read(&path)?;
    measured.starts.push(trainer.progress().step);
    measured.write(&path)?;
    let backend = trainer.model().backend().clone();
    let mut failed = None;
    let targets = trainer.parameters().targets().to_vec();
    let write_adapter = |path: &Path, values: &[[Vec<f32>; 2]]| {
        Ok(adapter_file::to_adapter(&config, &targets, values).write(path)?)
    };
    let mut watch = |event: &Event| {
        let peak = backend.ledger().report();
        if peak.peak > measured.peak_device_bytes.total {
            measured.peak_device_bytes = PeakBytes::from(&peak);
            if let Err(error) = measured.write(&path) {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        }
        observe(RunEvent::Train(event))
    };
    let summary = run(
        trainer,
        &mut folder,
        &mut source,
        inputs.held_out,
        &write_adapter,
        &mut watch,
    )
    .await?;
    match failed {
        Some(error) => Err(error),
        None => Ok(summary),
    }
}

async fn evaluate<B: Backend>(
    trainer: &mut Trainer<B>,
    inputs: &Inputs<'_>,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Evaluation, TrainError> {
    let Some((task, encoder)) = inputs.task else {
        return Ok(Evaluation::default());
    };
    let total = task.cases.len();
    let options = EvalOptions {
        batch_size: EVAL_ROWS,
        max_length: trainer.config().max_length.max(2),
    };
    let seed = trainer.config().seed;
    trainer.without_dropout();
    let each = |done| {
        // Nothing is kept of half an evaluation: it is done over when the comparison goes on.
        observe(RunEvent::Classifying { done, total }).is_break();
    };
    let adapters = Some(trainer.adapters());
    let found = classify(trainer.model(), adapters, encoder, task, options, seed, each).await?;
    Ok(Evaluation {
        classification: Some(Classified::from(&found)),
    })
}
