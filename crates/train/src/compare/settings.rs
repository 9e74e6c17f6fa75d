//! What a comparison was asked for: `compare.toml` in its folder, and the runs that follow from it.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::evaluation::AnswerSettings;
use crate::{HeldOutTask, Method, TrainConfig, TrainError, TrainOverrides, atomic};

/// The file of a comparison's settings.
const FILE: &str = "compare.toml";

/// A comparison.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// What is compared; the first is what the others are measured against.
    pub methods: Vec<Method>,
    /// Runs of each method, with seeds that count up from the settings'.
    pub seeds: usize,
    /// Bytes that a run may take on the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// What the held-out data are evaluated as, as it was asked for.
    pub task: HeldOutTask,
    /// The command line that began it.
    pub command: String,
    /// How the model is asked where it answers in texts.
    pub answers: AnswerSettings,
    /// What all runs share. `quant`, `double_quant` and `seed` are each run's own.
    pub settings: TrainConfig,
}

/// `compare.toml`, but the settings of the runs.
#[derive(Deserialize)]
struct Head {
    methods: Vec<Method>,
    seeds: usize,
    memory_limit: Option<u64>,
    task: HeldOutTask,
    command: String,
    #[serde(default)]
    answers: AnswerSettings,
    settings: toml::Table,
}

/// One run of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// How the base model is held.
    pub method: Method,
    /// The run's seed.
    pub seed: u64,
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-seed{}", self.method, self.seed)
    }
}

impl Planned {
    /// Its folder below the comparison's.
    pub fn folder(self, out: &Path) -> PathBuf {
        out.join("runs")
            .join(format!("{}-seed{}", self.method, self.seed))
    }

    /// Its settings.
    pub fn config(self, shared: &TrainConfig) -> TrainConfig {
        TrainConfig {
            seed: self.seed,
            ..self.method.configure(shared)
        }
    }
}

impl Settings {
    /// The seeds.
    pub fn seeds(&self) -> impl Iterator<Item = u64> {
        (0..self.seeds as u64).map(|index| self.settings.seed.wrapping_add(index))
    }

    /// All runs of `methods` in order: seed by seed, each beginning with another method, so that a machine that slows
    /// down or warms up does so for all methods.
    pub fn runs(&self, methods: &[Method]) -> Vec<Planned> {
        let mut runs = Vec::new();
        for (turn, seed) in self.seeds().enumerate() {
            let mut order = methods.to_vec();
            order.rotate_left(turn % methods.len().max(1));
            runs.extend(order.into_iter().map(|method| Planned { method, seed }));
        }
        runs
    }

    /// Whether a comparison lives in this folder already.
    pub fn exists(out: &Path) -> bool {
        out.join(FILE).exists()
    }

    /// Writes `compare.toml` into a folder, which is made where it isn't there.
    ///
    /// # Errors
    /// [`TrainError::RunExists`] where a comparison lives there, [`TrainError::File`].
    pub fn create(&self, out: &Path) -> Result<(), TrainError> {
        if Self::exists(out) {
            return Err(TrainError::RunExists { path: out.to_owned() });
        }
        let file = out.join(FILE);
        std::fs::create_dir_all(out.join("runs")).map_err(|error| TrainError::file(out, error))?;
        let text = toml::to_string(self).map_err(|error| TrainError::file(&file, error))?;
        atomic::write(&file, text.as_bytes()).map_err(|error| TrainError::file(&file, error))
    }

    /// Reads `compare.toml`.
    ///
    /// # Errors
    /// [`TrainError::NothingToResume`] where there is none, [`TrainError::File`].
    pub fn read(out: &Path) -> Result<Self, TrainError> {
        if !Self::exists(out) {
            return Err(TrainError::NothingToResume { path: out.to_owned() });
        }
        let file = out.join(FILE);
        let wrong = |error: &dyn std::fmt::Display| TrainError::file(&file, error);
        let text = std::fs::read_to_string(&file).map_err(|error| wrong(&error))?;
        let head: Head = toml::from_str(&text).map_err(|error| wrong(&error))?;
        let shared = toml::to_string(&head.settings).map_err(|error| wrong(&error))?;
        let shared = TrainOverrides::from_toml(&shared).map_err(|error| wrong(&error))?;
        Ok(Self {
            methods: head.methods,
            seeds: head.seeds,
            memory_limit: head.memory_limit,
            task: head.task,
            command: head.command,
            answers: head.answers,
            settings: TrainConfig::resolve([shared]).map_err(|error| wrong(&error))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            methods: Method::ALL.to_vec(),
            seeds: 2,
            memory_limit: Some(1 << 30),
            task: HeldOutTask::Qa,
            command: "anylora compare --data 'a b.jsonl'".to_owned(),
            answers: AnswerSettings {
                prompt: Some("{context}\n\"{question}\"".to_owned()),
                max_tokens: Some(9),
                ..AnswerSettings::default()
            },
            settings: TrainConfig {
                model: Some("m".to_owned()),
                lr: 1e-3,
                seed: 7,
                ..TrainConfig::default()
            },
        }
    }

    #[test]
    fn what_is_written_reads_back_and_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        assert!(matches!(
            Settings::read(&out),
            Err(TrainError::NothingToResume { .. })
        ));
        settings().create(&out).unwrap();
        assert_eq!(Settings::read(&out).unwrap(), settings());
        assert!(matches!(
            settings().create(&out),
            Err(TrainError::RunExists { .. })
        ));
    }

    #[test]
    fn runs_are_interleaved_and_differ_in_method_and_seed_only() {
        let settings = settings();
        let runs = settings.runs(&settings.methods);
        let names: Vec<String> = runs
            .iter()
            .map(|run| run.folder(Path::new("o")).display().to_string())
            .collect();
        assert_eq!(names.len(), 6);
        assert!(
            names[0].ends_with("lora-seed7") && names[3].ends_with("qlora-seed8"),
            "{names:?}"
        );
        let config = runs[5].config(&settings.settings);
        assert_eq!((runs[5].method, config.seed), (Method::Lora, 8));
        let back = TrainConfig {
            seed: 7,
            ..Method::QloraDq.configure(&config)
        };
        assert_eq!(back, settings.settings);
    }
}
