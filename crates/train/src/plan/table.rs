//! Methods, sizes and cards: what fits where.

use anylora_engine::{Caps, DType};
use serde::Serialize;

use super::search::{Planner, Setting};
use super::shapes;
use crate::{Quant, TrainConfig, TrainError};

/// The memory of common GPUs, in GiB.
pub const GPU_GIB: [u64; 7] = [8, 12, 16, 24, 40, 48, 80];

/// One model with one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// A name of [`shapes`].
    pub shape: String,
    /// `lora` or `qlora`.
    pub method: &'static str,
    /// The peak of one row of the settings' length, in bytes.
    pub peak_bytes_at_batch_size_1: u64,
    /// The largest batch on each card of [`GPU_GIB`]; None where one row does not fit.
    pub batch_size: Vec<Option<usize>>,
}

/// The rows of LoRA and QLoRA for the named shapes, base weights stored in 16 bits, `reserve` bytes of each card left
/// to others. Names that [`shapes::named`] does not know are passed over.
///
/// # Errors
/// Those of [`super::plan`].
pub fn rows<'a>(
    names: impl IntoIterator<Item = &'a str>,
    config: &TrainConfig,
    caps: Caps,
    reserve: u64,
) -> Result<Vec<Row>, TrainError> {
    let mut rows = Vec::new();
    for name in names {
        let Some(model) = shapes::named(name) else {
            continue;
        };
        let mut planner = Planner::new(&model, DType::BF16, caps);
        for (method, quant) in [("lora", Quant::None), ("qlora", Quant::Nf4)] {
            let config = TrainConfig {
                quant,
                ..config.clone()
            };
            let batch_size = GPU_GIB
                .iter()
                .map(|gib| {
                    let budget = (gib << 30).saturating_sub(reserve);
                    planner.largest(&config, Setting::BatchSize, budget)
                })
                .collect::<Result<_, _>>()?;
            rows.push(Row {
                shape: name.to_owned(),
                method,
                peak_bytes_at_batch_size_1: planner.peak(&Setting::BatchSize.with(&config, 1))?,
                batch_size,
            });
        }
    }
    Ok(rows)
}
