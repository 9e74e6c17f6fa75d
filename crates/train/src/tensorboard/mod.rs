//! TensorBoard event files: `loss`, `grad_norm`, `learning_rate` and `tokens_per_second` below `train/`, and
//! `eval/loss`, by step.
//!
//! A file is a row of records, each a protobuf `Event`; the first one says the file's version. Source: tensorflow,
//! `core/util/event.proto`, `core/framework/summary.proto` and `core/util/events_writer.cc`.

mod record;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message;

use crate::TrainError;
use crate::events::Metric;

/// TensorBoard reads files with this in their names.
const PREFIX: &str = "events.out.tfevents.";
const VERSION: &str = "brain.Event:2";

/// The fields of `Event` that are used here.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// Written where it is 0 too: in the schema it is one of several kinds of values.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

impl Event {
    /// What begins a file.
    fn version(wall_time: f64) -> Self {
        Self {
            wall_time,
            file_version: Some(VERSION.to_owned()),
            ..Self::default()
        }
    }

    /// Numbers that are not finite are left out: a chart has no place for them.
    fn metric(wall_time: f64, metric: &Metric) -> Self {
        let values = match metric {
            Metric::Step(step) => vec![
                ("train/loss", step.loss),
                ("train/grad_norm", step.grad_norm),
                ("train/learning_rate", Some(step.lr)),
                (
                    "train/tokens_per_second",
                    Some((step.input_tokens as f64 / step.seconds.max(1e-9)) as f32),
                ),
            ],
            Metric::Eval(eval) => vec![("eval/loss", Some(eval.eval_loss))],
        };
        let value = values
            .into_iter()
            .filter_map(|(tag, value)| {
                let simple_value = Some(value.filter(|value| value.is_finite())?);
                let tag = tag.to_owned();
                Some(Value { tag, simple_value })
            })
            .collect();
        Self {
            wall_time,
            step: metric.step() as i64,
            summary: Some(Summary { value }),
            ..Self::default()
        }
    }

    fn to_record(&self) -> Vec<u8> {
        record::frame(&self.encode_to_vec())
    }
}

/// A run's event file, open at its end.
pub(crate) struct EventFile {
    path: PathBuf,
    file: File,
}

impl EventFile {
    /// The event file of a folder, without what it tells of steps after `done`; a new one where there is none.
    ///
    /// It is cut and not written anew, so that a TensorBoard that has it open goes on reading.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub(crate) fn open(folder: &Path, done: usize) -> Result<Self, TrainError> {
        let path = match find(folder)? {
            Some(path) => path,
            None => folder.join(format!("{PREFIX}{}.anylora", now() as u64)),
        };
        let wrong = |error| TrainError::file(&path, error);
        let mut options = OpenOptions::new();
        let file = options.append(true).create(true).open(&path).map_err(wrong)?;
        let kept = kept_bytes(&fs::read(&path).map_err(wrong)?, done);
        file.set_len(kept as u64).map_err(wrong)?;
        let mut events = Self { path, file };
        if kept == 0 {
            events.append(&Event::version(now()))?;
        }
        Ok(events)
    }

    /// Adds a metric, with the time of now.
    ///
    /// # Errors
    /// [`TrainError::File`]: then nothing of it is in the file.
    pub(crate) fn record(&mut self, metric: &Metric) -> Result<(), TrainError> {
        self.append(&Event::metric(now(), metric))
    }

    fn append(&mut self, event: &Event) -> Result<(), TrainError> {
        let wrong = |error| TrainError::file(&self.path, error);
        let before = self.file.metadata().map_err(wrong)?.len();
        if let Err(error) = self.file.write_all(&event.to_record()) {
            // A full disk leaves a part of the record; where it can't be taken back, resuming does.
            self.file.set_len(before).ok();
            return Err(wrong(error));
        }
        Ok(())
    }
}

/// The folder's event file, the first by name.
fn find(folder: &Path) -> Result<Option<PathBuf>, TrainError> {
    let wrong = |error| TrainError::file(folder, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(wrong)? {
        let entry = entry.map_err(wrong)?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            found.push(entry.path());
        }
    }
    Ok(found.into_iter().min())
}

/// Bytes up to the first event of a step after `done`, or up to what a killed run left of a record.
fn kept_bytes(bytes: &[u8], done: usize) -> usize {
    let mut kept = 0;
    while let Some((data, length)) = record::first(&bytes[kept..]) {
        match Event::decode(data) {
            Ok(event) if event.step <= done as i64 => kept += length,
            _ => break,
        }
    }
    kept
}

/// Seconds since 1970.
fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests;
