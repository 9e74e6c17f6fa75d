//! Host memory: what a run holds there beside what is on the device, which on the CPU engine is there too.

use std::collections::BTreeMap;

use anylora_checkpoint::{ModelConfig, TensorFormat};
use anylora_models::{LoadOptions, Role, TensorSpec, layout};
use serde::Serialize;

use super::Plan;
use crate::TrainError;
use crate::run::PeakBytes;

/// Values of a tensor that are converted at once while it is loaded.
const CHUNK: u64 = 1 << 20;

/// The parts of a run's host memory, in bytes. Not to the byte: allocators and the system round up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Of the base weights on the device.
    pub weight_bytes: u64,
    /// Of the largest tensor on its way from the file to the device, converted or packed.
    pub staging_bytes: u64,
    /// Of the largest result of an operation, which the CPU engine holds twice while it is computed.
    pub largest_result_bytes: u64,
    /// Of a step's tokens, labels, positions and segments.
    pub batch_bytes: u64,
    /// Of the adapter and the optimizer's state on their way into a checkpoint.
    pub saving_bytes: u64,
}

impl Host {
    /// Host memory at its highest, by kind: while loading, in a step, or while saving. `program` is what the process
    /// takes before (code, driver, tokenizer), `files` the size of the model's files, whose pages count for the
    /// process while the system doesn't need them elsewhere. On the CPU engine the device's memory is the host's.
    pub fn peak(&self, plan: &Plan, on_cpu: bool, program: u64, files: u64) -> PeakBytes {
        let device = |bytes: u64| if on_cpu { bytes } else { 0 };
        let peak = plan.peak_device_bytes.total;
        let loading = [device(self.weight_bytes), self.staging_bytes];
        let step = [device(peak), device(self.largest_result_bytes)];
        let kept = |kind: &str| plan.peak_device_bytes.by_kind.get(kind).copied().unwrap_or(0);
        let state = self.weight_bytes + kept("adapter") + kept("gradients") + kept("optimizer");
        let saving = [device(state), self.saving_bytes];
        let phases = [loading, step, saving];
        let [device, transfer] = phases
            .into_iter()
            .max_by_key(|parts| parts.iter().sum::<u64>())
            .unwrap_or_default();
        let by_kind: BTreeMap<String, u64> = [
            ("program", program),
            ("files", files),
            ("batches", self.batch_bytes),
            ("device", device),
            ("transfer", transfer),
        ]
        .map(|(kind, bytes)| (kind.to_owned(), bytes))
        .into();
        PeakBytes {
            total: by_kind.values().sum(),
            by_kind,
        }
    }
}

/// The most that a tensor takes between its file, which is mapped, and the device: the values that are converted at
/// once, and the whole tensor as the device gets it, unless it gets it as the file has it.
pub(super) fn staging_bytes(
    model: &ModelConfig,
    stored: &impl Fn(&TensorSpec) -> TensorFormat,
    options: LoadOptions,
) -> Result<u64, TrainError> {
    let specs = layout(model)?;
    let of = |spec: &TensorSpec| {
        let len = spec.shape.iter().product::<usize>() as u64;
        match (stored(spec), spec.role) {
            (TensorFormat::Quantized4 { .. }, Role::Linear) => len / 2 + len / 16,
            (_, Role::Linear) if options.quantization.is_some() => 4 * len.min(CHUNK) + len / 2 + len / 16,
            (TensorFormat::Dense(from), _) => match options.dense {
                Some(to) if to != from => len * to.size() as u64,
                _ => 0,
            },
            // Widened, and rounded to what is asked for.
            _ => 4 * len + options.dense.map_or(0, |to| len * to.size() as u64),
        }
    };
    Ok(specs.iter().map(of).max().unwrap_or(0))
}

/// Parameters and both moments in f32, and the bytes of the files that they are written to.
pub(super) fn saving_bytes(trainable_parameters: usize) -> u64 {
    2 * 3 * 4 * trainable_parameters as u64
}
