//! What a run tells while it goes on.

use serde::{Deserialize, Serialize};

/// A line of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Metric {
    /// A training step.
    Step(StepMetric),
    /// An evaluation.
    Eval(EvalMetric),
}

impl Metric {
    /// The step that it belongs to.
    pub fn step(&self) -> usize {
        match self {
            Self::Step(metric) => metric.step,
            Self::Eval(metric) => metric.step,
        }
    }
}

/// One optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetric {
    /// From 1.
    pub step: usize,
    /// Mean negative log-likelihood (natural) of the trained tokens. NaN or infinity is `null` in JSON.
    pub loss: Option<f32>,
    /// Global norm of the gradients before clipping.
    pub grad_norm: Option<f32>,
    /// A's learning rate.
    pub lr: f32,
    /// Trained tokens.
    pub tokens: usize,
    /// All tokens in the step's rows, padding left out.
    pub input_tokens: usize,
    /// Of this step.
    pub seconds: f64,
    /// Whether the parameters stayed because a loss or gradient was not finite.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
}

/// The loss on held-out data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalMetric {
    /// Steps done.
    pub step: usize,
    /// Mean negative log-likelihood (natural) of the trained tokens.
    pub eval_loss: f32,
    /// Trained tokens.
    pub eval_tokens: usize,
}

/// What a run tells its observer.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The data is read and the model is on the device.
    Started {
        /// Steps in all.
        total_steps: usize,
        /// Steps done already, where the run goes on from a checkpoint.
        done_steps: usize,
        /// Trained numbers.
        trainable: usize,
    },
    /// A step is done.
    Step {
        /// Its figures.
        metric: StepMetric,
        /// Bytes in use on the device.
        live_bytes: u64,
    },
    /// An evaluation is under way.
    Evaluating {
        /// Batches done.
        done: usize,
        /// Batches in all.
        total: usize,
    },
    /// An evaluation is done.
    Evaluated {
        /// Its figures.
        metric: EvalMetric,
        /// Whether it is the best so far.
        best: bool,
    },
    /// A loss or gradient was not finite, and the step was left out.
    Skipped {
        /// The step.
        step: usize,
        /// In a row.
        in_a_row: usize,
        /// The loss scale from now on, where there is one.
        loss_scale: Option<f32>,
    },
    /// A checkpoint was written.
    Saved {
        /// After this step.
        step: usize,
        /// Its folder.
        path: std::path::PathBuf,
    },
    /// No better loss for `patience` evaluations.
    StoppedEarly {
        /// After this step.
        step: usize,
    },
}
