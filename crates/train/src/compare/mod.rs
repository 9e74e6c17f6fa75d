//! Methods head to head: the same run with the base model in 16 bits (LoRA) and in 4 (QLoRA), on the same data, seeds,
//! batches and device; what each costs and is worth; and which to take.
//!
//! A comparison's folder holds `compare.toml` (what was asked for), `runs/METHOD-seedN/` (run folders like those of
//! `anylora train`, each with what was measured beside) and the report. Where a process was killed, the next one goes
//! on from these files alone.

mod analysis;
mod convergence;
mod extrapolation;
mod files;
mod method;
mod metric;
mod published;
mod recommendation;
pub mod report;
mod run;
mod settings;
mod statistics;
mod text;

pub use analysis::{Analysis, Figure, MethodFigures, Reach, WARM_UP, analyse};
pub use convergence::Curve;
pub use extrapolation::{Extrapolated, extrapolate};
pub use files::{Evaluation, Finished, Measured, Score};
pub use metric::Metric;
pub use published::{Published, SOURCES, Source, Topic, published};
pub use recommendation::{NotRun, Recommendation, SLOWER_AT_MOST, recommend};
pub use run::{Evaluating, Inputs, Outcome, RunEvent, run_one};
pub use settings::{Planned, Settings};
pub use statistics::{Estimate, LEVEL, Spread};
