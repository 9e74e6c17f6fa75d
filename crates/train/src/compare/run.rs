//! One run of a comparison: trains an adapter as `anylora train` does, then evaluates it on the model that it was
//! trained on. Whatever it was killed in, it goes on with.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_data::{Batch, Dataset, Encoder, Position};
use anylora_engine::{Backend, Side};
use anylora_models::{Loader, Model, adapters, weight_file_bytes};
use anylora_nn::Adapters;
use serde_json::Value;

use super::files::{Evaluation, Measured, trained};
use crate::evaluation::{
    Answer, Answerer, EvalOptions, HeldOut, Question, Results, classify, score_generation, score_qa,
};
use crate::plan::load_options;
use crate::prepare::{self, Text};
use crate::{
    Event, Initial, PeakBytes, RunFolder, Target, TrainConfig, TrainError, Trainer, adapter_file, run,
    snapshot,
};

/// Rows of a pass of the evaluation.
const EVAL_ROWS: usize = 8;

/// The generated answers, in a run's folder: what is there when a run is killed is not generated again.
const ANSWERS: &str = "answers.jsonl";

/// What all runs have in common.
pub struct Inputs<'a, A> {
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
    /// What trained adapters are evaluated on, beside the loss.
    pub evaluating: Option<Evaluating<'a, A>>,
}

/// What trained adapters are evaluated on.
pub struct Evaluating<'a, A> {
    /// The held-out data.
    pub task: &'a HeldOut,
    /// The encoder of their texts.
    pub encoder: &'a Encoder,
    /// Who answers their questions.
    pub answerer: &'a A,
    /// All that decides an answer beside the adapter.
    pub asked: &'a Value,
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
    Evaluating {
        /// Examples done.
        done: usize,
        /// Examples in all.
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
pub async fn run_one<B: Backend, A: Answerer>(
    backend: &B,
    inputs: &Inputs<'_, A>,
    config: &TrainConfig,
    folder: &Path,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Outcome, A::Error> {
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
        Err(error) => return Err(error.into()),
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
    evaluate(&trainer, inputs, folder, observe).await?.write(folder)?;
    Ok(Outcome::Done)
}

fn batches<A>(
    inputs: &Inputs<'_, A>,
    config: &TrainConfig,
    position: Position,
) -> Result<anylora_data::Batches, TrainError> {
    inputs.text.batches(Arc::clone(inputs.data), config, position)
}

fn trainer<B: Backend, A>(
    backend: &B,
    inputs: &Inputs<'_, A>,
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
async fn train<B: Backend, A>(
    trainer: &mut Trainer<B>,
    inputs: &Inputs<'_, A>,
    mut folder: RunFolder,
    position: Position,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<crate::Summary, TrainError> {
    let config = trainer.config().clone();
    let mut source = batches(inputs, &config, position)?;
    let path = folder.path().to_owned();
    let mut measured = Measured::read(&path)?;
    let backend = trainer.model().backend().clone();
    measured.starts.push(trainer.progress().step);
    measured.base_file_bytes = weight_file_bytes(inputs.checkpoint, load_options(&config, &backend))?;
    measured.write(&path)?;
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

/// Evaluates the adapter that is in the run's folder, which with early stopping is not the last.
async fn evaluate<B: Backend, A: Answerer>(
    trainer: &Trainer<B>,
    inputs: &Inputs<'_, A>,
    folder: &Path,
    observe: &mut dyn FnMut(RunEvent<'_>) -> ControlFlow<()>,
) -> Result<Evaluation, A::Error> {
    let Some(evaluating) = &inputs.evaluating else {
        return Ok(Evaluation::default());
    };
    let model = trainer.model();
    let adapter = Adapter::open(&folder.join("adapter")).map_err(TrainError::from)?;
    let adapters = adapters(model.backend(), &model.config, &adapter, false).map_err(TrainError::from)?;
    let (task, seed) = (evaluating.task, trainer.config().seed);
    let total = task.len();
    let mut each = |done| {
        // Who wants to stop is heard at the next step, or ends the program: answers are kept.
        observe(RunEvent::Evaluating { done, total }).is_break();
    };
    let options = EvalOptions {
        batch_size: EVAL_ROWS,
        max_length: trainer.config().max_length.max(2),
    };
    let with_adapter = (model, &adapters);
    Ok(match task {
        HeldOut::Classification(task) => {
            let encoder = evaluating.encoder;
            let found = classify(model, Some(&adapters), encoder, task, options, seed, each).await?;
            Evaluation::from(&found)
        }
        HeldOut::Qa(task) => {
            let answers = answers(with_adapter, evaluating, &task.questions, folder, &mut each).await?;
            let (texts, truncated) = texts(&answers);
            Evaluation::from(&score_qa(task, &texts, truncated, seed))
        }
        HeldOut::Summarization(questions, stemming) => {
            let answers = answers(with_adapter, evaluating, questions, folder, &mut each).await?;
            let (texts, truncated) = texts(&answers);
            let found = score_generation(questions, &texts, None, truncated, *stemming, seed);
            Evaluation::from(&found)
        }
    })
}

/// The answers of a run: those that its folder has, and then the others.
async fn answers<B: Backend, A: Answerer>(
    (model, adapters): (&Model<B>, &Adapters<B>),
    evaluating: &Evaluating<'_, A>,
    questions: &[Question],
    folder: &Path,
    each: &mut dyn FnMut(usize),
) -> Result<Results<Answer>, A::Error> {
    let mut results = Results::resume(&folder.join(ANSWERS), evaluating.asked)?;
    let answerer = evaluating.answerer;
    answerer
        .answer(model, Some(adapters), questions, &mut results, each)
        .await?;
    Ok(results)
}

/// The texts in the order of the questions, and how many prompts were shortened.
fn texts(answers: &Results<Answer>) -> (Vec<&str>, usize) {
    let truncated = answers.iter().filter(|(_, answer)| answer.truncated).count();
    let texts = answers.iter().map(|(_, answer)| answer.answer.as_str());
    (texts.collect(), truncated)
}
