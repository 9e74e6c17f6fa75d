//! A whole run: steps, evaluations, checkpoints, until the steps are done, the observer says stop, or the loss no
//! longer falls.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use anylora_data::{Batch, Batches};
use anylora_engine::{Backend, MemoryKind, MemoryReport};
use serde::{Deserialize, Serialize};

use crate::events::{EvalMetric, Event, Metric};
use crate::parameters::State;
use crate::run_folder::RunFolder;
use crate::{TrainError, Trainer, snapshot};

/// Writes the adapter's files (PEFT's format) into a folder: A and B of each target, in the order of the targets.
pub type WriteAdapter<'a> = &'a dyn Fn(&Path, &[[Vec<f32>; 2]]) -> Result<(), TrainError>;

/// `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Steps done.
    pub steps: usize,
    /// The step whose adapter is in `adapter/`: the last one, or with early stopping that of the best evaluation.
    #[serde(default)]
    pub adapter_step: usize,
    /// Of the last step that was finite.
    pub final_loss: Option<f32>,
    /// Of the written adapter: of the last evaluation, or with early stopping of the best one.
    pub eval_loss: Option<f32>,
    /// Tokens a second, padding left out, over all steps.
    pub tokens_per_second: f64,
    /// Of training, without loading and evaluation.
    pub seconds: f64,
    /// Trained numbers.
    pub trainable_parameters: usize,
    /// The most device memory in use at once, in any of the processes that the run had.
    pub peak_device_bytes: PeakBytes,
    /// The device's name.
    pub device: String,
    /// `wgpu` or `burn`.
    pub engine: String,
    /// Whether the observer stopped the run before its last step.
    pub interrupted: bool,
}

/// Peak bytes, and what they were made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeakBytes {
    /// The sum.
    pub total: u64,
    /// By kind.
    pub by_kind: std::collections::BTreeMap<String, u64>,
}

impl From<&MemoryReport> for PeakBytes {
    fn from(report: &MemoryReport) -> Self {
        Self {
            total: report.peak,
            by_kind: MemoryKind::ALL
                .iter()
                .map(|&kind| (kind.name().to_owned(), report.peak_of(kind)))
                .collect(),
        }
    }
}

/// Runs `trainer` to its last step. `observe` is told everything; breaking ends the run after the step in hand, with
/// a checkpoint.
///
/// # Errors
/// [`TrainError::OtherData`] where a resumed run's data has changed, and any other; the last checkpoint stays.
pub async fn run<B: Backend>(
    trainer: &mut Trainer<B>,
    folder: &mut RunFolder,
    source: &mut Batches,
    held_out: &[Batch],
    write_adapter: WriteAdapter<'_>,
    observe: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<Summary, TrainError> {
    let data = source.dataset();
    let checksum = trainer
        .progress_mut()
        .data_checksum
        .get_or_insert(data.checksum());
    if *checksum != data.checksum() {
        return Err(TrainError::OtherData {
            file: data.name().to_owned(),
        });
    }
    let total = trainer.total_steps();
    let mut stop = observe(&Event::Started {
        total_steps: total,
        done_steps: trainer.progress().step,
        trainable: trainer.parameters().count(),
    })
    .is_break();
    let mut saved = None;
    let mut done = trainer.progress().step >= total;
    while !done && !stop {
        let batches = (0..trainer.config().grad_accum)
            .map(|_| source.next_batch())
            .collect::<Result<Vec<_>, _>>()?;
        let start = Instant::now();
        let mut metric = trainer.step(&batches).await?;
        metric.seconds = start.elapsed().as_secs_f64();
        trainer.progress_mut().seconds += metric.seconds;
        trainer.progress_mut().position = source.position().clone();
        let step = metric.step;
        folder.record(Metric::Step(metric.clone()))?;
        if metric.skipped {
            let progress = trainer.progress();
            stop |= observe(&Event::Skipped {
                step,
                in_a_row: progress.skipped_in_a_row,
                loss_scale: Some(progress.loss_scale).filter(|&scale| scale != 1.0),
            })
            .is_break();
        }
        let live_bytes = trainer.model().backend().ledger().report().live;
        stop |= observe(&Event::Step { metric, live_bytes }).is_break();
        done = step >= total;
        let every = |steps: usize| steps > 0 && step.is_multiple_of(steps);
        let config = trainer.config();
        let (save_every, patience) = (config.save_every, config.patience);
        let mut better = false;
        if !held_out.is_empty() && (every(config.eval_every) || done) {
            better = evaluate(trainer, folder, held_out, observe).await?;
            if patience > 0 && trainer.progress().evaluations_since_best >= patience {
                observe(&Event::StoppedEarly { step }).is_break();
                done = true;
            }
        }
        // Where steps are left out one after the other, the checkpoints from before them are those to go on from.
        let good = trainer.progress().skipped_in_a_row == 0;
        if (every(save_every) && good) || done || stop || better {
            let path = save(trainer, folder, write_adapter).await?;
            saved = Some(step);
            stop |= observe(&Event::Saved { step, path }).is_break();
        }
    }
    if saved.is_none() && trainer.progress().step > 0 {
        save(trainer, folder, write_adapter).await?;
    }
    finish(trainer, folder, write_adapter, stop && !done).await
}

/// Evaluates and says whether it is the best so far.
async fn evaluate<B: Backend>(
    trainer: &mut Trainer<B>,
    folder: &mut RunFolder,
    held_out: &[Batch],
    observe: &mut dyn FnMut(&Event) -> ControlFlow<()>,
) -> Result<bool, TrainError> {
    let total = held_out.len();
    let (eval_loss, eval_tokens) = trainer
        .evaluate(held_out, |done| {
            observe(&Event::Evaluating { done, total }).is_break();
        })
        .await?;
    let progress = trainer.progress_mut();
    let best = progress.best.is_none_or(|(_, loss)| eval_loss < loss);
    if best {
        progress.best = Some((progress.step, eval_loss));
        progress.evaluations_since_best = 0;
    } else {
        progress.evaluations_since_best += 1;
    }
    let metric = EvalMetric {
        step: progress.step,
        eval_loss,
        eval_tokens,
    };
    folder.record(Metric::Eval(metric.clone()))?;
    observe(&Event::Evaluated { metric, best }).is_break();
    Ok(best)
}

/// A ledger knows its own process: what the ones before it took is known from their checkpoints.
fn note_peak<B: Backend>(trainer: &mut Trainer<B>) {
    let peak = PeakBytes::from(&trainer.model().backend().ledger().report());
    let most = &mut trainer.progress_mut().peak_device_bytes;
    if peak.total > most.total {
        *most = peak;
    }
}

async fn save<B: Backend>(
    trainer: &mut Trainer<B>,
    folder: &RunFolder,
    write_adapter: WriteAdapter<'_>,
) -> Result<std::path::PathBuf, TrainError> {
    let values = trainer.parameters().download(State::Param).await?;
    folder.draw()?;
    note_peak(trainer);
    snapshot::save(folder.path(), trainer.progress(), trainer.parameters(), |path| {
        write_adapter(path, &values)
    })
    .await
}

/// Writes `adapter/` (with early stopping the one of the best evaluation, else the last) and `summary.json`.
async fn finish<B: Backend>(
    trainer: &mut Trainer<B>,
    folder: &RunFolder,
    write_adapter: WriteAdapter<'_>,
    interrupted: bool,
) -> Result<Summary, TrainError> {
    note_peak(trainer);
    let path = folder.path().join("adapter");
    let progress = trainer.progress();
    let best = progress.best.filter(|_| trainer.config().patience > 0);
    let adapter_step = best.map_or(progress.step, |(step, _)| step);
    if adapter_step == progress.step {
        let values = trainer.parameters().download(State::Param).await?;
        snapshot::write_folder(&path, |path| write_adapter(path, &values))?;
    } else {
        snapshot::copy_adapter(folder.path(), adapter_step, &path)?;
    }
    folder.draw()?;
    let last = |find: fn(&Metric) -> Option<f32>| folder.metrics().iter().rev().find_map(find);
    let backend = trainer.model().backend();
    let summary = Summary {
        steps: progress.step,
        adapter_step,
        final_loss: last(|metric| match metric {
            Metric::Step(step) => step.loss,
            Metric::Eval(_) => None,
        }),
        eval_loss: best.map(|(_, loss)| loss).or_else(|| {
            last(|metric| match metric {
                Metric::Eval(eval) => Some(eval.eval_loss),
                Metric::Step(_) => None,
            })
        }),
        tokens_per_second: progress.tokens as f64 / progress.seconds.max(1e-9),
        seconds: progress.seconds,
        trainable_parameters: trainer.parameters().count(),
        peak_device_bytes: progress.peak_device_bytes.clone(),
        device: backend.info().name.clone(),
        engine: backend.info().engine.to_owned(),
        interrupted,
    };
    let json = serde_json::to_vec_pretty(&summary)
        .map_err(|error| TrainError::file(&folder.path().join("summary.json"), error))?;
    folder.write("summary.json", &json)?;
    Ok(summary)
}
