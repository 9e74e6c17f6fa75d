//! What is classified: prompts, and the words of the classes.

use std::path::Path;

use anylora_data::{DataError, Dataset, Example};
use serde_json::Value;

use super::glue;
use crate::TrainError;

/// More different completions than this are texts, not labels.
const MAX_WORDS: usize = 64;
/// Problems that are listed.
const LISTED: usize = 20;

/// A prompt and the class that is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The text before the label word.
    pub prompt: String,
    /// The class: a place in [`Task::words`].
    pub truth: usize,
}

/// A classification task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The words of the classes, with the space before them.
    pub words: Vec<String>,
    /// What is classified.
    pub cases: Vec<Case>,
}

/// Why a file is no data of a task: everything, each with its place.
#[derive(Debug, thiserror::Error)]
#[error("the data can't be evaluated as {task}:{}", listed(.problems))]
pub struct TaskError {
    task: &'static str,
    problems: Vec<String>,
}

impl TaskError {
    pub(super) fn new(problems: Vec<String>) -> Self {
        Self::named("classification", problems)
    }

    pub(super) fn named(task: &'static str, problems: Vec<String>) -> Self {
        Self { task, problems }
    }
}

fn listed(problems: &[String]) -> String {
    let mut text = String::new();
    for problem in problems.iter().take(LISTED) {
        text.push_str("\n  ");
        text.push_str(problem);
    }
    if problems.len() > LISTED {
        text.push_str(&format!("\n  and {} more", problems.len() - LISTED));
    }
    text
}

/// A record before its class has a number.
struct Labelled {
    line: u64,
    prompt: String,
    word: String,
    /// The record's `label`, where it has one.
    label: Option<String>,
}

impl Task {
    /// Reads a data file: GLUE's TSV of SST-2 and MNLI, or records with `prompt` and `completion`, whose completions
    /// are the label words. Classes are in the order of `words`, else of the records' `label`, else of the words.
    ///
    /// # Errors
    /// [`TrainError::DataFile`]; [`TrainError::Task`] with all records that have no class.
    pub fn open(path: &Path, words: Option<&[String]>) -> Result<Self, TrainError> {
        if let Some(text) = Self::table(path)?
            && let Some(task) = glue::task(&path.display().to_string(), &text, words)
        {
            return Ok(task?);
        }
        Ok(Self::from_records(&Dataset::open(path, None)?, words)?)
    }

    /// The text of a TSV file; None of others.
    pub(super) fn table(path: &Path) -> Result<Option<String>, TrainError> {
        let extension = path.extension().unwrap_or_default();
        if !extension.eq_ignore_ascii_case("tsv") {
            return Ok(None);
        }
        let text = std::fs::read_to_string(path).map_err(|error| DataError {
            file: path.display().to_string(),
            line: 0,
            problem: error.into(),
        })?;
        Ok(Some(text))
    }

    pub(super) fn new(
        file: &str,
        words: Vec<String>,
        cases: Vec<Case>,
        mut problems: Vec<String>,
    ) -> Result<Self, TaskError> {
        if words.len() < 2 {
            problems.push(format!(
                "{file}: expected at least two label words, found {}: {words:?}",
                words.len()
            ));
        }
        if words.iter().any(|word| word.trim().is_empty()) {
            problems.push(format!("{file}: a label word is empty: {words:?}"));
        }
        if cases.is_empty() && problems.is_empty() {
            problems.push(format!("{file}: no record has a label"));
        }
        match problems.is_empty() {
            true => Ok(Self { words, cases }),
            false => Err(TaskError::new(problems)),
        }
    }

    fn from_records(dataset: &Dataset, words: Option<&[String]>) -> Result<Self, TaskError> {
        let file = dataset.name();
        let mut problems = Vec::new();
        let mut records = Vec::new();
        for index in 0..dataset.len() {
            match labelled(dataset, index) {
                Ok(record) => records.push(record),
                Err(problem) => problems.push(problem),
            }
        }
        let words = match words {
            Some(words) => words.to_vec(),
            None => found_words(file, &records, &mut problems),
        };
        let mut cases = Vec::with_capacity(records.len());
        for Labelled {
            line, prompt, word, ..
        } in records
        {
            match words.iter().position(|known| *known == word) {
                Some(truth) => cases.push(Case { prompt, truth }),
                None if words.is_empty() => {}
                None => problems.push(format!(
                    "{file}:{line}: `completion`: expected one of {words:?}, found {word:?}"
                )),
            }
        }
        Self::new(file, words, cases, problems)
    }
}

fn labelled(dataset: &Dataset, index: usize) -> Result<Labelled, String> {
    let (file, line) = (dataset.name(), dataset.line(index));
    let Example::Completion {
        prompt,
        completion: word,
    } = dataset.example(index).map_err(|error| error.to_string())?
    else {
        return Err(format!(
            "{file}:{line}: expected texts in `prompt` and `completion`, found format {}",
            dataset.format()
        ));
    };
    let value = dataset.value(index).map_err(|error| error.to_string())?;
    let label = match value.get("label") {
        None | Some(Value::Null) => None,
        Some(Value::String(label)) => Some(label.clone()),
        Some(label) => Some(label.to_string()),
    };
    Ok(Labelled {
        line,
        prompt,
        word,
        label,
    })
}

/// The different completions, in the order of their labels.
fn found_words(file: &str, records: &[Labelled], problems: &mut Vec<String>) -> Vec<String> {
    let mut found: Vec<(Option<&str>, &str)> = Vec::new();
    for Labelled {
        line, word, label, ..
    } in records
    {
        let label = label.as_deref();
        match found.iter().find(|(_, known)| *known == word.as_str()) {
            Some((known, _)) if *known == label => {}
            Some((known, _)) => problems.push(format!(
                "{file}:{line}: `label`: expected {}, which an earlier record has with completion {word:?}, found {}",
                known.unwrap_or("none"),
                label.unwrap_or("none")
            )),
            None => found.push((label, word)),
        }
        if found.len() > MAX_WORDS {
            problems.push(format!(
                "{file}: more than {MAX_WORDS} different completions; classification expects label words"
            ));
            return Vec::new();
        }
    }
    // Numbers by value, before names.
    let number = |label: Option<&str>| {
        label
            .and_then(|label| label.parse::<i64>().ok())
            .unwrap_or(i64::MAX)
    };
    found.sort_by(|a, b| (number(a.0), a.0, a.1).cmp(&(number(b.0), b.0, b.1)));
    found.into_iter().map(|(_, word)| word.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(text: &str, words: Option<&[String]>) -> Result<Task, TaskError> {
        let dataset = Dataset::from_bytes("a.jsonl", text.as_bytes(), None).unwrap();
        Task::from_records(&dataset, words)
    }

    #[test]
    fn words_are_in_the_order_of_labels() {
        let text = r#"{"prompt": "p", "completion": " yes", "label": 10}
            {"prompt": "q", "completion": " no", "label": 9}
            {"prompt": "r", "completion": " yes", "label": 10}"#;
        let found = task(text, None).unwrap();
        assert_eq!(found.words, [" no", " yes"]);
        let truths: Vec<usize> = found.cases.iter().map(|case| case.truth).collect();
        assert_eq!(truths, [1, 0, 1]);
        let words = [" yes".to_owned(), " no".to_owned(), " maybe".to_owned()];
        assert_eq!(task(text, Some(&words)).unwrap().cases[0].truth, 0);
    }

    #[test]
    fn all_that_is_wrong_is_listed() {
        let text = r#"{"prompt": "p", "completion": " yes", "label": 1}
            {"prompt": "q", "completion": " no", "label": 0}
            {"prompt": "r", "completion": " yes", "label": 0}
            {"prompt": "r"}"#;
        let error = task(text, None).unwrap_err().to_string();
        assert!(
            error.contains("a.jsonl:3") && error.contains("a.jsonl:4"),
            "{error}"
        );
        let error = task(r#"{"prompt": "p", "completion": " yes"}"#, None).unwrap_err();
        assert!(error.to_string().contains("at least two label words"), "{error}");
        let error = task(r#"{"text": "p"}"#, None).unwrap_err().to_string();
        assert!(error.contains("`prompt` and `completion`"), "{error}");
        let words = [" no".to_owned(), " maybe".to_owned()];
        let error = task(text.lines().next().unwrap(), Some(&words)).unwrap_err();
        assert!(error.to_string().contains("a.jsonl:1"), "{error}");
    }
}
