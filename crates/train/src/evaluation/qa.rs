//! Extractive question answering: SQuAD's own JSON files, versions 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018).

use std::io::BufReader;
use std::path::Path;

use anylora_data::DataError;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::question::{Passage, Prompt, Question, around};
use super::task::TaskError;
use crate::TrainError;
use crate::metrics::{LEVEL, SquadScore, SquadVersion, mean_interval, normalize_answer, squad};

/// What a question without an answer is answered with.
const NO_ANSWER: &str = "unanswerable";

/// A SQuAD file.
#[derive(Clone, Debug, PartialEq)]
pub struct QaTask {
    /// Which of the two scripts scores it.
    pub version: SquadVersion,
    /// Its questions; no references where the passage has no answer.
    pub questions: Vec<Question>,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    version: Value,
    data: Vec<Article>,
}

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Value>,
}

#[derive(Deserialize)]
struct Qa {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    is_impossible: Option<bool>,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

/// Whether a file begins as SQuAD's do: an object with articles that have paragraphs.
pub(super) fn is_squad(path: &Path) -> bool {
    #[derive(Deserialize)]
    struct Start {
        data: Vec<Title>,
    }
    #[derive(Deserialize)]
    struct Title {
        #[serde(rename = "paragraphs")]
        _paragraphs: Vec<IgnoredAny>,
    }
    let Ok(file) = std::fs::File::open(path) else {
        return false;
    };
    let values = serde_json::Deserializer::from_reader(BufReader::new(file));
    let first = values.into_iter::<Start>().next();
    matches!(first, Some(Ok(Start { data })) if !data.is_empty())
}

impl QaTask {
    /// Reads a file. `chat` asks in the user's words, for models with a chat template, else the prompt ends with
    /// `Answer:`. `template` replaces the prompt: a text with `{context}` and `{question}`.
    ///
    /// # Errors
    /// [`TrainError::DataFile`]; [`TrainError::Task`] with all questions that can't be read.
    pub fn open(path: &Path, chat: bool, template: Option<&str>) -> Result<Self, TrainError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| DataError {
            file: file.clone(),
            line: 0,
            problem: error.into(),
        })?;
        Ok(Self::parse(&file, &text, chat, template)?)
    }

    fn parse(file: &str, text: &str, chat: bool, template: Option<&str>) -> Result<Self, TaskError> {
        let fail = |what: String| TaskError::named("question answering", vec![what]);
        let parsed: File = serde_json::from_str(text).map_err(|error| {
            fail(format!(
                "{file}:{}: expected SQuAD's JSON, `data` with `paragraphs` of `context` and `qas`: {error}",
                error.line()
            ))
        })?;
        let mut questions = Vec::new();
        let mut problems = Vec::new();
        let mut version = match parsed.version.as_str() {
            Some(version) if version.trim_start_matches('v').starts_with('2') => SquadVersion::V2,
            _ => SquadVersion::V1,
        };
        for Paragraph { context, qas } in parsed.data.into_iter().flat_map(|article| article.paragraphs) {
            for record in qas {
                let qa: Qa = match serde_json::from_value(record.clone()) {
                    Ok(qa) => qa,
                    Err(error) => {
                        let id = record.get("id").unwrap_or(&Value::Null);
                        problems.push(format!("{file}: question {id}: {error}"));
                        continue;
                    }
                };
                if qa.is_impossible.is_some() {
                    version = SquadVersion::V2;
                }
                let impossible = qa.is_impossible.unwrap_or(false);
                questions.push((context.clone(), qa, impossible, record));
            }
        }
        let unanswered = |(_, qa, ..): &&(String, Qa, bool, Value)| qa.answers.is_empty();
        if version == SquadVersion::V1 {
            let unanswered = questions.iter().filter(unanswered);
            problems.extend(unanswered.map(|(_, qa, ..)| {
                format!(
                    "{file}: question {:?}: expected `answers`; without answers it can't be scored",
                    qa.id
                )
            }));
        }
        if questions.is_empty() && problems.is_empty() {
            problems.push(format!("{file}: there are no questions"));
        }
        if !problems.is_empty() {
            return Err(TaskError::named("question answering", problems));
        }
        let questions = questions.into_iter().map(|(context, qa, impossible, record)| {
            let passage = passage(&context, &qa.question, version, chat, template)
                .ok_or_else(|| fail("the prompt: expected `{context}` where the passage goes".to_owned()))?;
            Ok(Question {
                id: qa.id,
                prompt: match chat {
                    true => Prompt::Chat(Vec::new(), passage),
                    false => Prompt::Text(passage),
                },
                references: match impossible {
                    true => Vec::new(),
                    false => qa.answers.into_iter().map(|answer| answer.text).collect(),
                },
                record,
            })
        });
        Ok(Self {
            version,
            questions: questions.collect::<Result<_, TaskError>>()?,
        })
    }

    /// The answer in a generated text: its first line that has one, or nothing where the model says that there is none.
    pub fn answer<'a>(&self, text: &'a str) -> &'a str {
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        let line = line.unwrap_or_default();
        match self.version {
            SquadVersion::V2 if normalize_answer(line) == NO_ANSWER => "",
            _ => line,
        }
    }
}

fn passage(
    context: &str,
    question: &str,
    version: SquadVersion,
    chat: bool,
    template: Option<&str>,
) -> Option<Passage> {
    let unanswerable = match version {
        SquadVersion::V1 => String::new(),
        SquadVersion::V2 => format!(" If it does not say, answer \"{NO_ANSWER}\"."),
    };
    let asked = format!(
        "Answer the question with words from the passage, as few as possible.{unanswerable}\n\n\
         Passage: {{context}}\n\nQuestion: {{question}}"
    );
    let template = template.unwrap_or(match chat {
        true => &asked,
        false => "Passage: {context}\nQuestion: {question}\nAnswer:",
    });
    around(template, "context", context, &[("question", question)])
}

/// How well the questions were answered, each metric from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QaScores {
    /// Questions.
    pub examples: usize,
    /// `1.1` or `2.0`: the script that counts like this.
    pub squad_version: &'static str,
    /// The share of answers that equal a reference, normalized.
    pub exact_match: f64,
    /// The mean F1 of words.
    pub f1: f64,
    /// Of the questions that have an answer (version 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answerable: Option<QaPart>,
    /// Of those that have none (version 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unanswerable: Option<QaPart>,
    /// Questions whose passage was shortened.
    pub truncated: usize,
    /// Bootstrap confidence intervals.
    pub intervals: QaIntervals,
}

/// Some of the questions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QaPart {
    /// How many.
    pub examples: usize,
    /// As in [`QaScores`].
    pub exact_match: f64,
    /// As in [`QaScores`].
    pub f1: f64,
}

/// Percentile intervals over resampled questions, `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct QaIntervals {
    /// 0.95.
    pub level: f64,
    /// Of exact match.
    pub exact_match: [f64; 2],
    /// Of F1.
    pub f1: [f64; 2],
}

/// Scores generated texts, one a question in their order. `seed` is the bootstrap's.
pub fn score_qa(task: &QaTask, texts: &[&str], truncated: usize, seed: u64) -> QaScores {
    let scores: Vec<(bool, SquadScore)> = task
        .questions
        .iter()
        .zip(texts)
        .map(|(question, text)| {
            let references: Vec<&str> = question.references.iter().map(String::as_str).collect();
            let score = squad(task.version, task.answer(text), &references);
            (references.is_empty(), score)
        })
        .collect();
    let of = |metric: fn(&SquadScore) -> f64| -> Vec<f64> {
        scores.iter().map(|(_, score)| metric(score)).collect()
    };
    let exact_match = mean_interval(&of(|score| score.exact), seed);
    let f1 = mean_interval(&of(|score| score.f1), seed);
    let part = |without: bool| {
        let part = || scores.iter().filter(|(empty, _)| *empty == without);
        let examples = part().count();
        let mean = |metric: fn(&SquadScore) -> f64| {
            part().map(|(_, score)| metric(score)).sum::<f64>() / examples.max(1) as f64
        };
        (task.version == SquadVersion::V2).then(|| QaPart {
            examples,
            exact_match: mean(|score| score.exact),
            f1: mean(|score| score.f1),
        })
    };
    QaScores {
        examples: scores.len(),
        squad_version: match task.version {
            SquadVersion::V1 => "1.1",
            SquadVersion::V2 => "2.0",
        },
        exact_match: exact_match.value,
        f1: f1.value,
        answerable: part(false),
        unanswerable: part(true),
        truncated,
        intervals: QaIntervals {
            level: LEVEL,
            exact_match: [exact_match.low, exact_match.high],
            f1: [f1.low, f1.high],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V2: &str = r#"{"version": "v2.0", "data": [{"title": "t", "paragraphs": [{"context": "Ann lives in Köln.",
        "qas": [{"id": "a", "question": "Where does Ann live?", "is_impossible": false,
                 "answers": [{"text": "Köln", "answer_start": 13}, {"text": "in Köln", "answer_start": 10}]},
                {"id": "b", "question": "Who is Bob?", "is_impossible": true, "answers": [],
                 "plausible_answers": [{"text": "Ann", "answer_start": 0}]}]}]}]}"#;

    #[test]
    fn version_2_counts_answers_that_are_not_there() {
        let task = QaTask::parse("dev.json", V2, false, None).unwrap();
        assert_eq!(task.version, SquadVersion::V2);
        assert_eq!(task.questions[0].references, ["Köln", "in Köln"]);
        assert_eq!(task.questions[1].references, Vec::<String>::new());
        let found = score_qa(&task, &["\n The Köln.\nBecause", " Unanswerable."], 0, 1);
        assert_eq!((found.exact_match, found.f1), (1.0, 1.0));
        let found = score_qa(&task, &["unanswerable", "Ann"], 1, 1);
        assert_eq!((found.exact_match, found.f1, found.truncated), (0.0, 0.0, 1));
        let found = score_qa(&task, &["in the big Köln", ""], 0, 1);
        assert_eq!(
            found.answerable.map(|part| (part.examples, part.exact_match)),
            Some((1, 0.0))
        );
        assert_eq!(
            found.unanswerable.map(|part| (part.examples, part.f1)),
            Some((1, 1.0))
        );
        // "in big köln" against "in köln": 2 of 3 and 2 of 2 words.
        assert!((found.f1 - (0.8 + 1.0) / 2.0).abs() < 1e-12);
        let Prompt::Text(passage) = &task.questions[0].prompt else {
            panic!("no text")
        };
        assert_eq!(passage.after, "\nQuestion: Where does Ann live?\nAnswer:");
    }

    #[test]
    fn version_1_needs_answers_and_what_is_wrong_is_named() {
        let v1 = V2.replace("\"version\": \"v2.0\"", "\"version\": \"1.1\"");
        let v1 = v1
            .replace("\"is_impossible\": false,", "")
            .replace("\"is_impossible\": true,", "");
        let error = QaTask::parse("dev.json", &v1, true, None)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("question \"b\"") && !error.contains("question \"a\""),
            "{error}"
        );
        let error = QaTask::parse("dev.json", "{\n\"a\": 1}", true, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains("dev.json:2") && error.contains("SQuAD"), "{error}");
        let template = Some("{question}");
        let error = QaTask::parse("dev.json", V2, true, template)
            .unwrap_err()
            .to_string();
        assert!(error.contains("{context}"), "{error}");
    }
}
