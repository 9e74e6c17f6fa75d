//! Held-out data as a task: what a file holds, told by its content.

use std::path::Path;

use anylora_data::{Dataset, Format};
use serde_json::Value;

use super::{AnswerSettings, Asking, QaTask, Question, Task, generation, glue, qa, questions};
use crate::metrics::Stemming;
use crate::{HeldOutTask, TrainError};

/// What a data file's first lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// GLUE's own TSV of SST-2 or MNLI.
    Glue,
    /// SQuAD's own JSON.
    Squad,
    /// Records with a text and its summary.
    Summaries,
    /// Records with `label` and `completion`.
    Labelled,
    /// Anything else; whether it can be trained on, others say.
    Other,
}

impl Form {
    /// Looks at a file.
    ///
    /// # Errors
    /// [`TrainError::DataFile`] where it can't be read.
    pub fn of(path: &Path) -> Result<Self, TrainError> {
        if let Some(text) = Task::table(path)? {
            let is_glue = glue::task(&path.display().to_string(), &text, None).is_some();
            if is_glue {
                return Ok(Self::Glue);
            }
        }
        // A format is given, so that records in none of the formats are looked at too.
        let dataset = Dataset::open(path, Some(Format::PromptCompletion))?;
        // A file over several lines is no record, and SQuAD's may be written so.
        let record = dataset.value(0).unwrap_or(Value::Null);
        let has = |key: &str| record.get(key).is_some_and(|value| !value.is_null());
        Ok(if has("label") && has("completion") {
            Self::Labelled
        } else if generation::summary(&record).is_some() {
            Self::Summaries
        } else if (record.is_null() || has("data")) && qa::is_squad(path) {
            Self::Squad
        } else {
            Self::Other
        })
    }

    /// The task that such data are.
    pub const fn task(self) -> HeldOutTask {
        match self {
            Self::Glue | Self::Labelled => HeldOutTask::Classification,
            Self::Squad => HeldOutTask::Qa,
            Self::Summaries => HeldOutTask::Summarization,
            Self::Other => HeldOutTask::None,
        }
    }

    /// Whether training reads such data for what they are: then they have a loss.
    pub const fn has_loss(self) -> bool {
        matches!(self, Self::Labelled | Self::Other)
    }
}

/// Held-out data as what they are evaluated as.
#[derive(Clone, Debug, PartialEq)]
pub enum HeldOut {
    /// Classes are told by the likelihood of label words.
    Classification(Task),
    /// Questions are answered from their passages.
    Qa(QaTask),
    /// Texts are compared with references.
    Summarization(Vec<Question>, Stemming),
}

impl HeldOut {
    /// Reads a data file as `task`, or as what `form` says; None where only its loss is measured. `chat` asks in the
    /// user's words, for models with a chat template.
    ///
    /// # Errors
    /// [`TrainError::DataFile`]; [`TrainError::Task`] with all records that don't fit the task.
    pub fn open(
        path: &Path,
        form: Form,
        task: HeldOutTask,
        settings: &AnswerSettings,
        chat: bool,
    ) -> Result<Option<Self>, TrainError> {
        let template = settings.prompt.as_deref();
        let task = match task {
            HeldOutTask::Auto => form.task(),
            task => task,
        };
        Ok(match task {
            HeldOutTask::Auto | HeldOutTask::None => None,
            HeldOutTask::Classification => Some(Self::Classification(Task::open(path, None)?)),
            HeldOutTask::Qa => Some(Self::Qa(QaTask::open(path, chat, template)?)),
            HeldOutTask::Summarization => {
                let asking = Asking {
                    chat,
                    template,
                    ..Asking::default()
                };
                let stemming = match settings.stemmer {
                    true => Stemming::Porter,
                    false => Stemming::Off,
                };
                Some(Self::Summarization(questions(path, asking)?, stemming))
            }
        })
    }

    /// What they are.
    pub const fn task(&self) -> HeldOutTask {
        match self {
            Self::Classification(_) => HeldOutTask::Classification,
            Self::Qa(_) => HeldOutTask::Qa,
            Self::Summarization(..) => HeldOutTask::Summarization,
        }
    }

    /// Examples.
    pub fn len(&self) -> usize {
        match self {
            Self::Classification(task) => task.cases.len(),
            Self::Qa(_) | Self::Summarization(..) => self.questions().len(),
        }
    }

    /// Never true: data without examples are an error.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is asked, where the answers are texts.
    pub fn questions(&self) -> &[Question] {
        match self {
            Self::Classification(_) => &[],
            Self::Qa(task) => &task.questions,
            Self::Summarization(questions, _) => questions,
        }
    }

    /// The words of the classes, where there are classes.
    pub fn words(&self) -> &[String] {
        match self {
            Self::Classification(task) => &task.words,
            Self::Qa(_) | Self::Summarization(..) => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(name: &str, text: &str) -> Form {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        Form::of(&path).unwrap()
    }

    const SQUAD: &str = r#"{"version": "1.1", "data": [{"title": "t", "paragraphs": [
        {"context": "Ann ran.", "qas": [{"id": "a", "question": "Who ran?", "answers": [{"text": "Ann", "answer_start": 0}]}]}]}]}"#;

    #[test]
    fn files_are_told_by_their_content() {
        for (name, text, expected) in [
            ("dev.tsv", "sentence\tlabel\n\"a gem\t1\n", Form::Glue),
            (
                "dev_matched.tsv",
                "index\tsentence1\tsentence2\tgold_label\n0\tHe ran.\tHe moved.\tentailment\n",
                Form::Glue,
            ),
            ("pairs.tsv", "prompt\tcompletion\na\tb\n", Form::Other),
            ("dev.json", SQUAD, Form::Squad),
            ("dev.json", &SQUAD.replace('\n', " "), Form::Squad),
            (
                "a.jsonl",
                "{\"dialogue\": \"A: hi\", \"summary\": \"A greets.\"}\n",
                Form::Summaries,
            ),
            (
                "a.json",
                "[{\"text\": \"long\", \"highlights\": \"short\"}]",
                Form::Summaries,
            ),
            (
                "a.jsonl",
                "{\"prompt\": \"p\", \"completion\": \" no\", \"label\": 0}\n",
                Form::Labelled,
            ),
            (
                "a.jsonl",
                "{\"prompt\": \"p\", \"completion\": \" no\", \"label\": null}\n",
                Form::Other,
            ),
            ("a.jsonl", "{\"data\": [1], \"text\": \"t\"}\n", Form::Other),
            ("a.jsonl", "{\"text\": \"t\"}\n{\"text\": \"u\"}\n", Form::Other),
            ("a.txt", "a text\n\nanother\n", Form::Other),
        ] {
            assert_eq!(form(name, text), expected, "{name}: {text}");
        }
        assert!(Form::of(Path::new("missing.jsonl")).is_err());
    }

    #[test]
    fn a_task_can_be_asked_for_and_the_loss_be_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dev.json");
        std::fs::write(&path, SQUAD).unwrap();
        let open = |task| HeldOut::open(&path, Form::Squad, task, &AnswerSettings::default(), false);
        let found = open(HeldOutTask::Auto).unwrap().unwrap();
        assert_eq!((found.len(), found.questions()[0].id.as_str()), (1, "a"));
        assert_eq!(open(HeldOutTask::None).unwrap(), None);
        assert!(matches!(
            open(HeldOutTask::Classification),
            Err(TrainError::Task(_) | TrainError::DataFile(_))
        ));
    }
}
