//! What a run of a comparison leaves in its folder beside a run's own files: `measured.json`, written while it trains,
//! and `evaluation.json`, which says that it is done.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::settings::Planned;
use crate::evaluation::Classification;
use crate::events::Metric;
use crate::run::PeakBytes;
use crate::{EvalMetric, StepMetric, Summary, TrainError, atomic};

/// What only the process that trains can see. A run that was killed goes on with it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The most device memory in use at once, over all processes.
    pub peak_device_bytes: PeakBytes,
    /// Steps that were done when a process began: the next ones are its warm-up.
    pub starts: Vec<usize>,
}

/// What the trained adapter is worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// On the held-out data, where that is a classification task.
    pub classification: Option<Classified>,
}

/// How well classes were told; see [`Classification`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classified {
    /// Examples.
    pub examples: usize,
    /// The share of examples whose class was predicted.
    pub accuracy: f64,
    /// Its 95 % bootstrap interval over examples.
    pub accuracy_interval: [f64; 2],
    /// The mean of F1 over classes.
    pub macro_f1: f64,
    /// Its 95 % bootstrap interval over examples.
    pub macro_f1_interval: [f64; 2],
}

impl From<&Classification> for Classified {
    fn from(found: &Classification) -> Self {
        Self {
            examples: found.examples,
            accuracy: found.accuracy,
            accuracy_interval: found.intervals.accuracy,
            macro_f1: found.macro_f1,
            macro_f1_interval: found.intervals.macro_f1,
        }
    }
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
    /// Bytes of the adapter's weights on disk.
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
                Metric::Step(metric) => steps.push(metric),
                Metric::Eval(metric) => evals.push(metric),
            }
        }
        let weights = run.join("adapter").join("adapter_model.safetensors");
        let weights = weights
            .metadata()
            .map_err(|error| TrainError::file(&weights, error))?;
        Ok(Some(Self {
            planned,
            summary,
            measured: Measured::read(&run)?,
            evaluation,
            steps,
            evals,
            adapter_bytes: weights.len(),
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
