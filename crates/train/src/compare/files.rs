//! What a run of a comparison leaves in its folder beside a run's own files: `measured.json`, written while it trains,
//! and `evaluation.json`, which says that it is done.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::metric::Metric;
use super::settings::Planned;
use crate::evaluation::{
    Classification, GenerationIntervals, GenerationScores, Intervals, QaIntervals, QaScores,
};
use crate::events;
use crate::run::PeakBytes;
use crate::{EvalMetric, HeldOutTask, StepMetric, Summary, TrainError, atomic};

/// What only the process that trains can see. A run that was killed goes on with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The most device memory in use at once, over all processes.
    pub peak_device_bytes: PeakBytes,
    /// Steps that were done when a process began: the next ones are its warm-up.
    pub starts: Vec<usize>,
    /// Bytes of the base model's weight files, kept on disk as the run holds them.
    #[serde(default)]
    pub base_file_bytes: u64,
}

/// What the trained adapter is worth on the held-out data, beside the loss.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// What they were evaluated as; None where the loss is all.
    pub task: Option<HeldOutTask>,
    /// Examples.
    pub examples: usize,
    /// Examples that had to be shortened.
    pub truncated: usize,
    /// Each under its name.
    pub scores: BTreeMap<Metric, Score>,
}

/// A score of one run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// From 0 to 1.
    pub value: f64,
    /// Its 95 % bootstrap interval over examples.
    pub interval: [f64; 2],
}

impl From<&Classification> for Evaluation {
    fn from(found: &Classification) -> Self {
        let Intervals {
            accuracy, macro_f1, ..
        } = found.intervals;
        Self {
            task: Some(HeldOutTask::Classification),
            examples: found.examples,
            truncated: found.truncated,
            scores: scores([
                (Metric::Accuracy, found.accuracy, accuracy),
                (Metric::MacroF1, found.macro_f1, macro_f1),
            ]),
        }
    }
}

impl From<&QaScores> for Evaluation {
    fn from(found: &QaScores) -> Self {
        let QaIntervals { exact_match, f1, .. } = found.intervals;
        Self {
            task: Some(HeldOutTask::Qa),
            examples: found.examples,
            truncated: found.truncated,
            scores: scores([
                (Metric::ExactMatch, found.exact_match, exact_match),
                (Metric::F1, found.f1, f1),
            ]),
        }
    }
}

impl From<&GenerationScores> for Evaluation {
    fn from(found: &GenerationScores) -> Self {
        let GenerationIntervals {
            rouge1,
            rouge2,
            rouge_l,
            ..
        } = found.intervals;
        Self {
            task: Some(HeldOutTask::Summarization),
            examples: found.examples,
            truncated: found.truncated,
            scores: scores([
                (Metric::Rouge1, found.rouge1, rouge1),
                (Metric::Rouge2, found.rouge2, rouge2),
                (Metric::RougeL, found.rouge_l, rouge_l),
            ]),
        }
    }
}

fn scores<const N: usize>(scores: [(Metric, f64, [f64; 2]); N]) -> BTreeMap<Metric, Score> {
    let score = |(metric, value, interval)| (metric, Score { value, interval });
    scores.map(score).into()
}

const MEASURED: &str = "measured.json";
const EVALUATION: &str = "evaluation.json";
const SUMMARY: &str = "summary.json";

impl Measured {
    /// What a run's folder has; the default where it has nothing yet.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn read(run: &Path) -> Result<Self, TrainError> {
        Ok(read(&run.join(MEASURED))?.unwrap_or_default())
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write(&self, run: &Path) -> Result<(), TrainError> {
        write(&run.join(MEASURED), self)
    }
}

impl Evaluation {
    /// Writes it: the run is done.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write(&self, run: &Path) -> Result<(), TrainError> {
        write(&run.join(EVALUATION), self)
    }
}

/// A run that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// Which one.
    pub planned: Planned,
    /// Its summary. The peak in it is the last process's: [`Finished::measured`] has all.
    pub summary: Summary,
    /// What its processes saw.
    pub measured: Measured,
    /// What its adapter is worth.
    pub evaluation: Evaluation,
    /// Its steps.
    pub steps: Vec<StepMetric>,
    /// Its evaluations on held-out data.
    pub evals: Vec<EvalMetric>,
    /// Bytes of the adapter's two files, weights and config.
    pub adapter_bytes: u64,
}

impl Finished {
    /// Reads a run's folder; None where the run is not done.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn read(out: &Path, planned: Planned) -> Result<Option<Self>, TrainError> {
        let run = planned.folder(out);
        let (Some(evaluation), Some(summary)) = (read(&run.join(EVALUATION))?, trained(&run)?) else {
            return Ok(None);
        };
        let file = run.join("metrics.jsonl");
        let text = fs::read_to_string(&file).map_err(|error| TrainError::file(&file, error))?;
        let (mut steps, mut evals) = (Vec::new(), Vec::new());
        for line in text.lines() {
            match serde_json::from_str(line).map_err(|error| TrainError::file(&file, error))? {
                events::Metric::Step(metric) => steps.push(metric),
                events::Metric::Eval(metric) => evals.push(metric),
            }
        }
        let mut adapter_bytes = 0;
        for name in ["adapter_model.safetensors", "adapter_config.json"] {
            let file = run.join("adapter").join(name);
            let about = file.metadata().map_err(|error| TrainError::file(&file, error))?;
            adapter_bytes += about.len();
        }
        Ok(Some(Self {
            planned,
            summary,
            measured: Measured::read(&run)?,
            evaluation,
            steps,
            evals,
            adapter_bytes,
        }))
    }
}

/// The summary of a run that has trained to its end.
///
/// # Errors
/// [`TrainError::File`].
pub(super) fn trained(run: &Path) -> Result<Option<Summary>, TrainError> {
    let summary: Option<Summary> = read(&run.join(SUMMARY))?;
    Ok(summary.filter(|summary| !summary.interrupted))
}

fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>, TrainError> {
    match fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| TrainError::file(file, error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TrainError::file(file, error)),
    }
}

fn write(file: &Path, value: &impl Serialize) -> Result<(), TrainError> {
    let json = serde_json::to_vec_pretty(value).map_err(|error| TrainError::file(file, error))?;
    atomic::write(file, &json).map_err(|error| TrainError::file(file, error))
}
