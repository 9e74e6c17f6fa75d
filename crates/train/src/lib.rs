//! Training: from a model, data and a [`TrainConfig`] to an adapter in PEFT's format.

mod choices;
mod config;
mod config_file;
mod initial;
mod parameters;
mod schedule;

pub use choices::{Dtype, Quant, Schedule, TargetModules, TrainOn};
pub use config::{TrainConfig, TrainOverrides};
pub use config_file::ConfigError;
pub use initial::initial_values;
pub use parameters::{OptimizerStep, Parameters, State, Target};
pub use schedule::LearningRate;
