//! A run's folder: `config.toml`, `metrics.jsonl`, `loss.svg`, `summary.json`, `checkpoints/`, `adapter/`,
//! and TensorBoard's event file where it is asked for.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::events::Metric;
use crate::plot::loss_svg;
use crate::tensorboard::EventFile;
use crate::{TrainConfig, TrainError, atomic};

/// An open run folder.
pub struct RunFolder {
    path: PathBuf,
    metrics: Vec<Metric>,
    file: File,
    tensorboard: Option<EventFile>,
}

impl RunFolder {
    /// A folder for a new run.
    ///
    /// # Errors
    /// [`TrainError::RunExists`], [`TrainError::File`].
    pub fn create(path: &Path, config: &TrainConfig) -> Result<Self, TrainError> {
        Self::expect_none(path)?;
        remove_unfinished(path)?;
        fs::create_dir_all(path.join("checkpoints")).map_err(|error| TrainError::file(path, error))?;
        let text = toml::to_string(config).map_err(|error| TrainError::file(path, error))?;
        let run = Self::open(path, Vec::new(), events(path, config, 0)?)?;
        run.write("config.toml", text.as_bytes())?;
        Ok(run)
    }

    /// Whether a new run may have this folder.
    ///
    /// # Errors
    /// [`TrainError::RunExists`], [`TrainError::File`] for a file in its place.
    pub fn expect_none(path: &Path) -> Result<(), TrainError> {
        if path.exists() && !path.is_dir() {
            return Err(TrainError::file(path, "expected a run folder, found a file"));
        }
        if path.join("config.toml").exists() {
            return Err(TrainError::RunExists {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// The folder of a run that goes on after step `done`: what it told of later steps is forgotten.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn resume(path: &Path, config: &TrainConfig, done: usize) -> Result<Self, TrainError> {
        let checkpoints = path.join("checkpoints");
        remove_unfinished(path)?;
        remove_unfinished(&checkpoints)?;
        fs::create_dir_all(&checkpoints).map_err(|error| TrainError::file(&checkpoints, error))?;
        let file = path.join("metrics.jsonl");
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(TrainError::file(&file, error)),
        };
        // The last line may have been cut off in the middle, even of a letter: the run then resumes from before it.
        let text = String::from_utf8_lossy(&bytes);
        let metrics = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Metric>(line).ok())
            .filter(|metric| metric.step() <= done)
            .collect();
        Self::open(path, metrics, events(path, config, done)?)
    }

    fn open(path: &Path, metrics: Vec<Metric>, tensorboard: Option<EventFile>) -> Result<Self, TrainError> {
        let file = path.join("metrics.jsonl");
        let text: String = metrics.iter().map(line).collect();
        atomic::write(&file, text.as_bytes()).map_err(|error| TrainError::file(&file, error))?;
        Ok(Self {
            path: path.to_owned(),
            metrics,
            tensorboard,
            file: OpenOptions::new()
                .append(true)
                .open(&file)
                .map_err(|error| TrainError::file(&file, error))?,
        })
    }

    /// Adds a line to `metrics.jsonl`, and an event for TensorBoard.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn record(&mut self, metric: Metric) -> Result<(), TrainError> {
        let wrong = |error| TrainError::file(&self.path.join("metrics.jsonl"), error);
        let before = self.file.metadata().map_err(wrong)?.len();
        if let Err(error) = self.file.write_all(line(&metric).as_bytes()) {
            // A full disk leaves a part of the line; where it can't be taken back, resuming does.
            self.file.set_len(before).ok();
            return Err(wrong(error));
        }
        if let Some(events) = &mut self.tensorboard {
            events.record(&metric)?;
        }
        self.metrics.push(metric);
        Ok(())
    }

    /// Draws `loss.svg` anew.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn draw(&self) -> Result<(), TrainError> {
        match loss_svg(&self.metrics) {
            Some(svg) => self.write("loss.svg", svg.as_bytes()),
            None => Ok(()),
        }
    }

    /// Writes a whole file of the folder.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), TrainError> {
        let path = self.path.join(name);
        atomic::write(&path, bytes).map_err(|error| TrainError::file(&path, error))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was told so far.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }
}

fn events(path: &Path, config: &TrainConfig, done: usize) -> Result<Option<EventFile>, TrainError> {
    config
        .tensorboard
        .then(|| EventFile::open(path, done))
        .transpose()
}

fn line(metric: &Metric) -> String {
    // A metric is numbers, and those that JSON doesn't have become null.
    let json = serde_json::to_string(metric).unwrap_or_default();
    format!("{json}\n")
}

/// What a killed run was writing.
fn remove_unfinished(folder: &Path) -> Result<(), TrainError> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(".writing-") {
            continue;
        }
        let path = entry.path();
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|error| TrainError::file(&path, error))?;
    }
    Ok(())
}
