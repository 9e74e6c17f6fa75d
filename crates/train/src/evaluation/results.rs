//! What an evaluation has found so far, by example: in memory, or also in a file, from which a killed one goes on.
//!
//! The file is JSON lines: first the settings, then an object an example with its number as `example`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TrainError;

/// Results by example.
pub struct Results<T> {
    found: BTreeMap<usize, T>,
    file: Option<(PathBuf, File)>,
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    evaluation: Value,
}

/// The others.
#[derive(Serialize, Deserialize)]
struct Line<T> {
    example: usize,
    #[serde(flatten)]
    result: T,
}

impl<T> Default for Results<T> {
    fn default() -> Self {
        Self {
            found: BTreeMap::new(),
            file: None,
        }
    }
}

impl<T: Serialize + DeserializeOwned> Results<T> {
    /// Results that are kept in a new file too. `settings` is all that decides them.
    ///
    /// # Errors
    /// [`TrainError::ResultsExist`]; [`TrainError::File`].
    pub fn create(path: &Path, settings: &Value) -> Result<Self, TrainError> {
        let file = File::options().write(true).create_new(true).open(path);
        let mut file = match file {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(TrainError::ResultsExist {
                    path: path.to_owned(),
                });
            }
            file => file.map_err(|error| TrainError::file(path, error))?,
        };
        let evaluation = settings.clone();
        append(&mut file, path, &Header { evaluation })?;
        Ok(Self {
            found: BTreeMap::new(),
            file: Some((path.to_owned(), file)),
        })
    }

    /// Results that are in a file already, and go on there; a file that isn't there, or that was stopped before its
    /// first line was whole, begins anew. A last line that is not whole is taken off.
    ///
    /// # Errors
    /// [`TrainError::OtherResults`] where the file's settings are others, or a line is no result;
    /// [`TrainError::File`].
    pub fn resume(path: &Path, settings: &Value) -> Result<Self, TrainError> {
        let failed = |error| TrainError::file(path, error);
        let mut file = match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Self::create(path, settings);
            }
            file => file.map_err(failed)?,
        };
        let other = |line: usize, what: String| TrainError::OtherResults {
            path: path.to_owned(),
            line,
            what,
        };
        let mut found = BTreeMap::new();
        let mut whole = 0;
        let mut reader = BufReader::new(&mut file);
        let mut text = Vec::new();
        for line in 1.. {
            text.clear();
            let length = reader.read_until(b'\n', &mut text).map_err(failed)?;
            // Without its end the line was cut off by what ended the run.
            if text.last() != Some(&b'\n') {
                break;
            }
            let wrong = |error: serde_json::Error| other(line, error.to_string());
            if line == 1 {
                let header: Header = serde_json::from_slice(&text).map_err(wrong)?;
                if let Some(what) = difference(&header.evaluation, settings) {
                    return Err(other(line, what));
                }
            } else {
                let Line { example, result } = serde_json::from_slice(&text).map_err(wrong)?;
                found.insert(example, result);
            }
            whole += length as u64;
        }
        drop(reader);
        file.set_len(whole).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        if whole == 0 {
            let evaluation = settings.clone();
            append(&mut file, path, &Header { evaluation })?;
        }
        Ok(Self {
            found,
            file: Some((path.to_owned(), file)),
        })
    }

    /// Adds an example's result; it is in the file when this returns.
    ///
    /// # Errors
    /// [`TrainError::File`].
    pub fn add(&mut self, example: usize, result: T) -> Result<(), TrainError> {
        let line = Line { example, result };
        if let Some((path, file)) = &mut self.file {
            append(file, path, &line)?;
        }
        self.found.insert(line.example, line.result);
        Ok(())
    }
}

impl<T> Results<T> {
    /// An example's result.
    pub fn get(&self, example: usize) -> Option<&T> {
        self.found.get(&example)
    }

    /// Examples that have a result.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The results in the order of their examples.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.found.iter().map(|(example, result)| (*example, result))
    }
}

fn append(file: &mut File, path: &Path, line: &impl Serialize) -> Result<(), TrainError> {
    let mut text = serde_json::to_vec(line).map_err(|error| TrainError::file(path, error))?;
    text.push(b'\n');
    file.write_all(&text)
        .map_err(|error| TrainError::file(path, error))
}

/// The first setting that differs, in words.
fn difference(found: &Value, expected: &Value) -> Option<String> {
    if found == expected {
        return None;
    }
    let differs = expected.as_object().and_then(|settings| {
        settings
            .iter()
            .find(|(name, value)| found.get(name.as_str()) != Some(value))
    });
    Some(match differs {
        Some((name, value)) => {
            let found = found.get(name.as_str()).unwrap_or(&Value::Null);
            format!("`{name}`: expected {value}, found {found}")
        }
        None => format!("expected the settings {expected}, found {found}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Score {
        score: f64,
    }

    #[test]
    fn a_file_goes_on_where_it_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let settings = json!({"task": "perplexity", "model": "m"});
        let mut results = Results::create(&path, &settings).unwrap();
        results.add(4, Score { score: 0.1 }).unwrap();
        results.add(2, Score { score: -2.5e-300 }).unwrap();
        assert!(matches!(
            Results::<Score>::create(&path, &settings),
            Err(TrainError::ResultsExist { .. })
        ));
        let whole = std::fs::read(&path).unwrap();
        // Cut anywhere: what was whole is kept, the rest is done again.
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut again = Results::<Score>::resume(&path, &settings).unwrap();
            for (example, score) in results.iter() {
                if again.get(example).is_none() {
                    again.add(example, score.clone()).unwrap();
                }
            }
            let again = Results::<Score>::resume(&path, &settings).unwrap();
            assert!(again.iter().eq(results.iter()), "{end}");
        }
        let other = Results::<Score>::resume(&path, &json!({"task": "perplexity", "model": "n"}));
        let error = other.err().unwrap().to_string();
        assert!(error.contains("`model`: expected \"n\", found \"m\""), "{error}");
        std::fs::write(&path, b"{\"text\": 1}\n").unwrap();
        assert!(Results::<Score>::resume(&path, &settings).is_err());
    }
}
