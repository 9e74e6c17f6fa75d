//! Whether a run fits into its device's memory, before anything is loaded.

use anyhow::{Result, anyhow};
use anylora_checkpoint::Checkpoint;
use anylora_engine::Backend;
use anylora_train::TrainConfig;
use anylora_train::plan::Planner;
use indicatif::HumanBytes;

use super::train_error;
use crate::engine::memory_bytes;
use crate::error;

/// Refuses a run that takes more than the device has, or more than `limit` where one is given: with what it would
/// take, and the nearest settings that fit. What isn't known is not refused.
pub fn expect_room<B: Backend>(
    backend: &B,
    checkpoint: &Checkpoint,
    config: &TrainConfig,
    limit: Option<u64>,
) -> Result<()> {
    let memory = memory_bytes(backend.info());
    let Some(room) = limit.into_iter().chain(memory).min() else {
        return Ok(());
    };
    let mut planner = Planner::of_checkpoint(checkpoint, *backend.caps());
    let name = &backend.info().name;
    let message = match planner.plan(config) {
        Ok(plan) if plan.peak_device_bytes.total <= room => return Ok(()),
        Ok(plan) => {
            let peak = plan.peak_device_bytes;
            let line = |(kind, bytes): (&String, &u64)| format!("\n  {kind:12} {}", HumanBytes(*bytes));
            let parts: String = peak.by_kind.iter().map(line).collect();
            let (takes, room_text) = (HumanBytes(peak.total), HumanBytes(room));
            let whose = if limit == Some(room) {
                " (--memory-limit)"
            } else {
                ""
            };
            format!(
                "the run takes {takes} of device memory at its highest, and {name} has {room_text}{whose}{parts}"
            )
        }
        // One tensor is larger than the device allows.
        Err(error) if planner.peak(config).is_ok() => format!("the run does not fit on {name}: {error}"),
        Err(error) => return Err(train_error(error)),
    };
    // Of a device's own memory a part is the driver's, and other programs'.
    let budget = limit.map_or(room - room / 16, |limit| limit.min(room));
    let hint = match planner.nearest(config, budget).map_err(train_error)? {
        Some(nearest) => format!(
            "{} takes {}; --force tries it as it is",
            nearest.options.join(" "),
            HumanBytes(nearest.peak_bytes)
        ),
        None => "no rows are short enough: take a smaller model; --force tries it as it is".to_owned(),
    };
    Err(error::note(anyhow!(message), true, Some(hint)))
}
