//! What evaluations measure: pure functions of predictions and references.
//!
//! Each agrees with its reference implementation on recorded cases (`tests/metrics.rs`).

mod bootstrap;
mod classification;
mod porter;
mod rouge;
mod squad;

pub use bootstrap::{Interval, LEVEL, RESAMPLES, bootstrap, mean_interval};
pub use classification::Confusion;
pub use porter::porter_stem;
pub use rouge::{Rouge, Score, Stemming, rouge, rouge_l, rouge_n, rouge_tokens};
pub use squad::{SquadScore, SquadVersion, normalize_answer, squad};
