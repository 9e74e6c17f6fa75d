//! Training: from a model, data and a [`TrainConfig`] to an adapter in PEFT's format.

pub mod adapter_file;
mod atomic;
mod choices;
pub mod compare;
mod config;
mod config_file;
mod error;
pub mod evaluation;
mod events;
mod initial;
pub mod metrics;
mod parameters;
mod pass;
pub mod plan;
mod plot;
pub mod prepare;
mod run;
mod run_folder;
mod schedule;
pub mod snapshot;
mod tensorboard;
mod trainer;

pub use choices::{Dtype, HeldOutTask, Method, Quant, Schedule, TrainOn};
pub use config::{TrainConfig, TrainOverrides};
pub use config_file::ConfigError;
pub use error::TrainError;
pub use events::{EvalMetric, Event, Metric, StepMetric};
pub use initial::initial_values;
pub use parameters::{OptimizerStep, Parameters, State, Target};
pub use pass::{evaluate, forward_backward};
pub use plot::loss_svg;
pub use run::{PeakBytes, Summary, WriteAdapter, run};
pub use run_folder::RunFolder;
pub use schedule::LearningRate;
pub use trainer::{Initial, Trainer};
