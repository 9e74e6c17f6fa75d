//! What to change where a run does not fit.

use anylora_engine::DType;
use serde::Serialize;

use super::search::{Planner, Setting};
use crate::{Dtype, Quant, TrainConfig, TrainError};

/// Shorter rows than this teach little.
const SHORTEST: usize = 64;

/// The setting that fits and is nearest to the one that doesn't.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Nearest {
    /// The options that change, as they are typed.
    pub options: Vec<String>,
    /// The peak of device memory with them, in bytes.
    pub peak_bytes: u64,
    /// The settings with them.
    #[serde(skip)]
    pub config: TrainConfig,
}

impl Planner<'_> {
    /// The nearest settings to `config` whose peak is within `budget`, or None where no change is enough.
    ///
    /// What costs only time goes first (recompute, then fewer rows with more micro-batches), then what costs
    /// precision (NF4, 16-bit embeddings), then what costs content: shorter rows, a smaller rank.
    ///
    /// # Errors
    /// Those of [`super::plan`].
    pub fn nearest(&mut self, config: &TrainConfig, budget: u64) -> Result<Option<Nearest>, TrainError> {
        let mut leaner = config.clone();
        let mut variants = vec![leaner.clone()];
        leaner.recompute = true;
        variants.push(leaner.clone());
        (leaner.quant, leaner.double_quant) = (Quant::Nf4, true);
        variants.push(leaner.clone());
        if self.stored() == DType::F32 && leaner.dtype == Dtype::F32 {
            leaner.dtype = Dtype::Bf16;
            variants.push(leaner.clone());
        }
        let rows = config.batch_size * config.grad_accum;
        // Every micro-batch keeps its loss, 16 bytes, to the end of the step; there may be as many as rows.
        let budget = budget.saturating_sub(16 * rows as u64);
        for variant in variants {
            let Some(largest) = self.largest(&variant, Setting::BatchSize, budget)? else {
                continue;
            };
            let batch_size = largest.min(config.batch_size);
            let mut found = Setting::BatchSize.with(&variant, batch_size);
            found.grad_accum = rows.div_ceil(batch_size);
            return self.change(config, found).map(Some);
        }
        leaner = TrainConfig {
            batch_size: 1,
            grad_accum: rows,
            ..leaner
        };
        if let Some(length) = self.largest(&leaner, Setting::MaxLength, budget)?
            && length >= SHORTEST
        {
            let found = Setting::MaxLength.with(&leaner, length.min(config.max_length));
            return self.change(config, found).map(Some);
        }
        leaner.max_length = SHORTEST.min(config.max_length);
        match self.largest(&leaner, Setting::Rank, budget)? {
            Some(rank) => {
                let found = Setting::Rank.with(&leaner, rank.min(config.rank));
                self.change(config, found).map(Some)
            }
            None => Ok(None),
        }
    }

    fn change(&mut self, from: &TrainConfig, to: TrainConfig) -> Result<Nearest, TrainError> {
        let mut options = Vec::new();
        let mut option = |changed: bool, text: String| {
            if changed {
                options.push(text);
            }
        };
        option(from.quant != to.quant, format!("--quant {}", to.quant));
        option(
            from.double_quant != to.double_quant,
            format!("--double-quant {}", to.double_quant),
        );
        option(from.dtype != to.dtype, format!("--dtype {}", to.dtype));
        option(
            from.recompute != to.recompute,
            format!("--recompute {}", to.recompute),
        );
        option(
            from.batch_size != to.batch_size,
            format!("--batch-size {}", to.batch_size),
        );
        option(
            from.grad_accum != to.grad_accum,
            format!("--grad-accum {}", to.grad_accum),
        );
        option(
            from.max_length != to.max_length,
            format!("--max-length {}", to.max_length),
        );
        option(from.rank != to.rank, format!("--rank {}", to.rank));
        Ok(Nearest {
            options,
            peak_bytes: self.peak(&to)?,
            config: to,
        })
    }
}
