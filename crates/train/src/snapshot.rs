//! Checkpoints: what a run needs to go on with the same bits. A folder `checkpoints/step-000123` is whole or not
//! there: it holds `state.safetensors` (parameters and moments, f32), `progress.json`, and the adapter in PEFT's
//! format.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anylora_checkpoint::CheckpointError;
use anylora_engine::Backend;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};

use crate::parameters::{Parameters, State};
use crate::{PeakBytes, TrainError, atomic};

/// Checkpoints kept beside the best one: one may be whole while the other is written.
const KEEP: usize = 2;

/// A checkpoint's files beside the adapter's.
const STATE: &str = "state.safetensors";
const PROGRESS: &str = "progress.json";

/// Where a run stands after a step. Masks and the order of the data are functions of the seed, so no generator's
/// state is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// AdamW steps done: skipped ones don't count.
    pub updates: u32,
    /// Where the next step's data begins.
    pub position: anylora_data::Position,
    /// Tokens so far, padding left out.
    pub tokens: u64,
    /// Of training so far, without loading and evaluation.
    pub seconds: f64,
    /// The factor on f16's loss.
    pub loss_scale: f32,
    /// Finite steps since the loss scale changed.
    pub steady_steps: usize,
    /// Steps in a row that were not finite.
    pub skipped_in_a_row: usize,
    /// The best evaluation: step and loss.
    pub best: Option<(usize, f32)>,
    /// Evaluations since.
    pub evaluations_since_best: usize,
    /// The most device memory in use at once, of all processes that the run had.
    #[serde(default)]
    pub peak_device_bytes: PeakBytes,
    /// The CRC-32 of the data file.
    #[serde(default)]
    pub data_checksum: Option<u32>,
}

const STATES: [(State, &str); 3] = [
    (State::Param, "weight"),
    (State::M, "exp_avg"),
    (State::V, "exp_avg_sq"),
];

struct Floats {
    values: Vec<f32>,
    shape: [usize; 2],
}

impl View for &Floats {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        bytemuck::cast_slice(&self.values).into()
    }
    fn data_len(&self) -> usize {
        self.values.len() * 4
    }
}

/// Writes the checkpoint of a step and removes old ones. `adapter` writes the adapter's files into the folder.
///
/// # Errors
/// Device errors, [`TrainError::File`].
pub async fn save<B: Backend>(
    run: &Path,
    progress: &Progress,
    parameters: &Parameters<B>,
    adapter: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<PathBuf, TrainError> {
    let mut tensors = Vec::new();
    for (state, name) in STATES {
        for (target, [a, b]) in parameters.targets().iter().zip(parameters.download(state).await?) {
            let module = &target.module;
            for (side, values, shape) in [
                ("A", a, [target.rank, target.in_features]),
                ("B", b, [target.out_features, target.rank]),
            ] {
                tensors.push((format!("{module}.lora_{side}.{name}"), Floats { values, shape }));
            }
        }
    }
    let folder = run.join("checkpoints");
    let path = folder.join(folder_name(progress.step));
    let wrong = |error: &dyn std::fmt::Display| TrainError::file(&path, error);
    let state = safetensors::serialize(tensors.iter().map(|(name, floats)| (name, floats)), None)
        .map_err(|error| wrong(&error))?;
    let progress_json = serde_json::to_vec_pretty(progress).map_err(|error| wrong(&error))?;
    write_folder(&path, |folder| {
        for (name, bytes) in [(STATE, &state), (PROGRESS, &progress_json)] {
            // Under the name that it would have had.
            fs::write(folder.join(name), bytes).map_err(|error| TrainError::file(&path.join(name), error))?;
        }
        adapter(folder)
    })?;
    let best = progress.best.map(|(step, _)| step);
    let mut old: Vec<_> = list(run)
        .into_iter()
        .filter(|(step, _)| Some(*step) != best)
        .collect();
    old.truncate(old.len().saturating_sub(KEEP));
    for (_, path) in old {
        fs::remove_dir_all(&path).map_err(|error| TrainError::file(&path, error))?;
    }
    Ok(path)
}

/// Makes the adapter's folder `to` out of the checkpoint of a step.
///
/// # Errors
/// [`TrainError::File`].
pub(crate) fn copy_adapter(run: &Path, step: usize, to: &Path) -> Result<(), TrainError> {
    let from = run.join("checkpoints").join(folder_name(step));
    write_folder(to, |to| {
        let wrong = |error| TrainError::file(&from, error);
        for entry in fs::read_dir(&from).map_err(wrong)? {
            let name = entry.map_err(wrong)?.file_name();
            if name != STATE && name != PROGRESS {
                fs::copy(from.join(&name), to.join(&name)).map_err(wrong)?;
            }
        }
        Ok(())
    })
}

fn folder_name(step: usize) -> String {
    format!("step-{step:06}")
}

/// Makes a folder out of what `fill` writes into it, all or nothing.
///
/// # Errors
/// Those of `fill`, [`TrainError::File`].
pub(crate) fn write_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    atomic::write_folder(path, |folder| {
        fill(folder).map_err(|error| WriteError::Train(renamed(error, folder, path)))
    })
    .map_err(|error| match error {
        WriteError::Train(error) => error,
        WriteError::Io(error) => TrainError::file(path, error),
    })
}

/// Names a file of the folder in hand as it would have been: that folder is gone when the error is read.
fn renamed(error: TrainError, in_hand: &Path, path: &Path) -> TrainError {
    if let TrainError::Checkpoint(CheckpointError::Io { path: file, source }) = &error
        && let Ok(name) = file.strip_prefix(in_hand)
    {
        return TrainError::file(&path.join(name), source);
    }
    error
}

enum WriteError {
    Io(std::io::Error),
    Train(TrainError),
}

impl From<std::io::Error> for WriteError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// The checkpoints of a run, oldest first.
pub fn list(run: &Path) -> Vec<(usize, PathBuf)> {
    let Ok(entries) = fs::read_dir(run.join("checkpoints")) else {
        return Vec::new();
    };
    let mut all: Vec<_> = entries
        .flatten()
        .filter_map(|entry| {
            let step = entry.file_name().to_str()?.strip_prefix("step-")?.parse().ok()?;
            Some((step, entry.path()))
        })
        .collect();
    all.sort();
    all
}

/// Reads where the newest checkpoint stands.
///
/// # Errors
/// [`TrainError::NothingToResume`], [`TrainError::BrokenCheckpoint`], [`TrainError::CheckpointMismatch`].
pub fn newest(run: &Path) -> Result<(PathBuf, Progress), TrainError> {
    let (step, path) = list(run)
        .pop()
        .ok_or_else(|| TrainError::NothingToResume { path: run.to_owned() })?;
    let file = path.join(PROGRESS);
    let text = fs::read(&file).map_err(|error| TrainError::broken(&file, error))?;
    let progress: Progress =
        serde_json::from_slice(&text).map_err(|error| TrainError::broken(&file, error))?;
    if progress.step != step {
        let what = format!(
            "its folder is that of step {step}, and it says step {}",
            progress.step
        );
        return Err(TrainError::CheckpointMismatch { path: file, what });
    }
    Ok((path, progress))
}

/// Loads parameters and moments.
///
/// # Errors
/// [`TrainError::CheckpointMismatch`] where it holds other matrices, [`TrainError::BrokenCheckpoint`], device errors.
pub fn load<B: Backend>(path: &Path, parameters: &Parameters<B>) -> Result<(), TrainError> {
    let file = path.join(STATE);
    let bytes = fs::read(&file).map_err(|error| TrainError::broken(&file, error))?;
    let stored = SafeTensors::deserialize(&bytes).map_err(|error| TrainError::broken(&file, error))?;
    let mut unused: HashMap<String, _> = stored
        .iter()
        .map(|(name, view)| (name.to_owned(), view))
        .collect();
    let mut take = |name: String, shape: [usize; 2]| -> Result<Vec<f32>, TrainError> {
        let mismatch = |what: String| TrainError::CheckpointMismatch {
            path: file.clone(),
            what,
        };
        let view = unused
            .remove(&name)
            .ok_or_else(|| mismatch(format!("{name} is missing")))?;
        if view.dtype() != Dtype::F32 || view.shape() != shape {
            let (dtype, found) = (view.dtype(), view.shape());
            return Err(mismatch(format!(
                "{name} should be F32 {shape:?}, found {dtype:?} {found:?}"
            )));
        }
        Ok(bytemuck::pod_collect_to_vec(view.data()))
    };
    let mut states = Vec::new();
    for (state, name) in STATES {
        let mut values = Vec::new();
        for target in parameters.targets() {
            let module = &target.module;
            values.push([
                take(
                    format!("{module}.lora_A.{name}"),
                    [target.rank, target.in_features],
                )?,
                take(
                    format!("{module}.lora_B.{name}"),
                    [target.out_features, target.rank],
                )?,
            ]);
        }
        states.push((state, values));
    }
    if let Some(name) = unused.keys().min() {
        return Err(TrainError::CheckpointMismatch {
            path: file,
            what: format!("{name} belongs to no layer of this run"),
        });
    }
    for (state, values) in states {
        parameters.upload(state, &values)?;
    }
    Ok(())
}
