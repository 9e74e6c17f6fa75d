//! The largest setting that fits: plans are exact, so the answers are.

use std::collections::HashMap;

use anylora_checkpoint::{Checkpoint, ModelConfig};
use anylora_engine::{Caps, DType, Error};
use serde::Serialize;

use super::{Plan, plan, plan_checkpoint, stored_dtype};
use crate::{TrainConfig, TrainError};

/// The most rows that are tried.
const MAX_BATCH_SIZE: usize = 1024;
/// The largest rank that [`TrainConfig::problems`] lets through.
const MAX_RANK: usize = 1024;
/// Lengths are tried in steps of this many tokens.
const LENGTH_STEP: usize = 8;

/// A setting that memory grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Rows of a micro-batch.
    BatchSize,
    /// Tokens of a row.
    MaxLength,
    /// The adapter's rank.
    Rank,
}

impl Setting {
    /// Its values are the multiples of this.
    const fn step(self) -> usize {
        match self {
            Self::MaxLength => LENGTH_STEP,
            Self::BatchSize | Self::Rank => 1,
        }
    }

    fn most(self, model: &ModelConfig) -> usize {
        match self {
            Self::BatchSize => MAX_BATCH_SIZE,
            Self::MaxLength => model.max_position_embeddings,
            Self::Rank => MAX_RANK,
        }
    }

    /// `config` with another value of this setting.
    pub fn with(self, config: &TrainConfig, value: usize) -> TrainConfig {
        let mut config = config.clone();
        match self {
            Self::BatchSize => config.batch_size = value,
            Self::MaxLength => config.max_length = value,
            Self::Rank => config.rank = value,
        }
        config
    }
}

/// The largest value of each setting with the others as they are; None where not even the smallest fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Rows, 1024 at most.
    pub batch_size: Option<usize>,
    /// Tokens, a multiple of 8, at most what the model was made for.
    pub max_length: Option<usize>,
    /// Rank, 1024 at most.
    pub rank: Option<usize>,
}

/// Plans for one model, each setting once.
pub struct Planner<'a> {
    model: &'a ModelConfig,
    stored: DType,
    checkpoint: Option<&'a Checkpoint>,
    caps: Caps,
    peaks: HashMap<String, u64>,
}

impl<'a> Planner<'a> {
    /// For a model of this shape whose dense weights are stored as `stored`, on a device of these capabilities.
    pub fn new(model: &'a ModelConfig, stored: DType, caps: Caps) -> Self {
        Self {
            model,
            stored,
            checkpoint: None,
            caps,
            peaks: HashMap::new(),
        }
    }

    /// For a checkpoint, each of whose tensors is planned as it is stored.
    pub fn of_checkpoint(checkpoint: &'a Checkpoint, caps: Caps) -> Self {
        Self {
            checkpoint: Some(checkpoint),
            ..Self::new(checkpoint.config(), stored_dtype(checkpoint), caps)
        }
    }

    /// The type in which the dense weights are stored.
    pub fn stored(&self) -> DType {
        self.stored
    }

    /// A whole plan.
    ///
    /// # Errors
    /// Those of [`plan`].
    pub fn plan(&self, config: &TrainConfig) -> Result<Plan, TrainError> {
        match self.checkpoint {
            Some(checkpoint) => plan_checkpoint(checkpoint, config, self.caps),
            None => plan(self.model, self.stored, config, self.caps),
        }
    }

    /// The peak of device memory in bytes; `u64::MAX` where a buffer would be larger than the device allows.
    ///
    /// # Errors
    /// Those of [`plan`].
    pub fn peak(&mut self, config: &TrainConfig) -> Result<u64, TrainError> {
        let key = format!("{config:?}");
        if let Some(&peak) = self.peaks.get(&key) {
            return Ok(peak);
        }
        let peak = match self.plan(config) {
            Ok(plan) => plan.peak_device_bytes.total,
            Err(TrainError::Engine(error)) if is_too_large(&error) => u64::MAX,
            Err(TrainError::Model(anylora_models::ModelError::Engine(error))) if is_too_large(&error) => {
                u64::MAX
            }
            Err(error) => return Err(error),
        };
        self.peaks.insert(key, peak);
        Ok(peak)
    }

    /// The largest value of `setting` whose peak is at most `budget` bytes, the other settings as in `config`.
    ///
    /// # Errors
    /// Those of [`plan`].
    pub fn largest(
        &mut self,
        config: &TrainConfig,
        setting: Setting,
        budget: u64,
    ) -> Result<Option<usize>, TrainError> {
        let step = setting.step();
        let most = (setting.most(self.model) / step).max(1);
        let mut peak = |count: usize| self.peak(&setting.with(config, count * step));
        let found = last_within(most, budget, &mut peak)?;
        Ok(found.map(|count| count * step))
    }

    /// The largest value of every setting.
    ///
    /// # Errors
    /// Those of [`plan`].
    pub fn limits(&mut self, config: &TrainConfig, budget: u64) -> Result<Limits, TrainError> {
        Ok(Limits {
            batch_size: self.largest(config, Setting::BatchSize, budget)?,
            max_length: self.largest(config, Setting::MaxLength, budget)?,
            rank: self.largest(config, Setting::Rank, budget)?,
        })
    }
}

fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::OutOfMemory { .. })
}

/// The last of `1..=most` whose peak is within the budget. Peaks rise, nearly along lines: a guess on the line between
/// the two ends is seldom far off, and every third guess halves the range, so that a bend costs little.
fn last_within(
    most: usize,
    budget: u64,
    peak: &mut dyn FnMut(usize) -> Result<u64, TrainError>,
) -> Result<Option<usize>, TrainError> {
    let (mut low, mut low_peak) = (1, peak(1)?);
    if low_peak > budget {
        return Ok(None);
    }
    let (mut high, mut high_peak) = (most, peak(most)?);
    if high_peak <= budget {
        return Ok(Some(most));
    }
    for round in 1.. {
        if high - low <= 1 {
            break;
        }
        let share = if round % 3 == 0 || high_peak == u64::MAX {
            0.5
        } else {
            (budget - low_peak) as f64 / (high_peak - low_peak) as f64
        };
        let guess = low + ((high - low) as f64 * share) as usize;
        let guess = guess.clamp(low + 1, high - 1);
        let found = peak(guess)?;
        if found <= budget {
            (low, low_peak) = (guess, found);
        } else {
            (high, high_peak) = (guess, found);
        }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_within_is_found_with_few_guesses() {
        for (most, budget, expected) in [
            (1000, 99, None),
            (1000, 100, Some(1)),
            (1000, 7099, Some(700)),
            (1000, 7100, Some(701)),
            (1000, u64::MAX - 1, Some(1000)),
            (1, 100, Some(1)),
        ] {
            let mut guesses = 0;
            let mut peak = |count: usize| {
                guesses += 1;
                Ok(90 + 10 * count as u64)
            };
            assert_eq!(
                last_within(most, budget, &mut peak).unwrap(),
                expected,
                "{budget}"
            );
            assert!(guesses <= 6, "{guesses} guesses for {budget}");
        }
        // A step, and a range that no device has room for.
        let mut peak = |count: usize| Ok(if count > 321 { u64::MAX } else { 5 });
        assert_eq!(last_within(1024, 100, &mut peak).unwrap(), Some(321));
    }
}
