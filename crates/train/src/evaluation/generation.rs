//! Generated texts against references: summaries, and answers of any kind.

use std::path::Path;

use anylora_data::{DataError, Dataset, Example, Format, Message, alpaca_prompt};
use serde::Serialize;
use serde_json::Value;

use super::question::{Passage, Prompt, Question, around};
use super::task::TaskError;
use crate::TrainError;
use crate::metrics::{LEVEL, Rouge, Stemming, mean_interval, rouge};

/// The keys under which data sets hold a text and its summary.
const DOCUMENT: [&str; 4] = ["document", "article", "dialogue", "text"];
const SUMMARY: [&str; 2] = ["summary", "highlights"];

/// How records become questions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asking<'a> {
    /// The model has a chat template.
    pub chat: bool,
    /// The prompt of records with a document and a summary: a text with `{document}`.
    pub template: Option<&'a str>,
    /// Records without a reference are taken too: something else judges the answers.
    pub unreferenced: bool,
}

/// Reads a data file: records with a text and its summary (`document`, `article`, `dialogue` or `text`; `summary` or
/// `highlights`), or the formats of training, whose completion, output or last message of the assistant is the reference.
///
/// # Errors
/// [`TrainError::DataFile`]; [`TrainError::Task`] with all records that ask nothing.
pub fn questions(path: &Path, asking: Asking<'_>) -> Result<Vec<Question>, TrainError> {
    // Records in none of the formats are looked at one by one.
    let dataset = Dataset::open(path, None).or_else(|error| match error.line {
        0 => Err(error),
        _ => Dataset::open(path, Some(Format::PromptCompletion)),
    })?;
    Ok(of_dataset(&dataset, asking)?)
}

fn of_dataset(dataset: &Dataset, asking: Asking<'_>) -> Result<Vec<Question>, TaskError> {
    let mut questions = Vec::with_capacity(dataset.len());
    let mut problems = Vec::new();
    for index in 0..dataset.len() {
        match question(dataset, index, asking) {
            Ok(question) => questions.push(question),
            Err(problem) => problems.push(problem),
        }
    }
    match problems.is_empty() {
        true => Ok(questions),
        false => Err(TaskError::named("generation", problems)),
    }
}

/// A record's text and its summary, where it has both.
pub(super) fn summary(record: &Value) -> Option<(&str, &str)> {
    let text = |keys: &[&str]| keys.iter().find_map(|key| record.get(key)?.as_str());
    text(&DOCUMENT).zip(text(&SUMMARY))
}

fn question(dataset: &Dataset, index: usize, asking: Asking<'_>) -> Result<Question, String> {
    let said = |error: DataError| error.to_string();
    let record = dataset.value(index).map_err(said)?;
    let place = format!("{}:{}", dataset.name(), dataset.line(index));
    let (prompt, reference) = match (summary(&record), record.get("prompt").and_then(Value::as_str)) {
        (Some((document, summary)), _) => (summarize(document, asking)?, Some(summary.to_owned())),
        (None, Some(prompt)) if asking.unreferenced && record.get("completion").is_none() => {
            let prompt = Example::Completion {
                prompt: prompt.to_owned(),
                completion: String::new(),
            };
            (asked(prompt, asking, &place)?.0, None)
        }
        _ => {
            let (prompt, reference) = asked(dataset.example(index).map_err(said)?, asking, &place)?;
            (prompt, Some(reference))
        }
    };
    let reference = reference.filter(|reference| !reference.trim().is_empty());
    if reference.is_none() && !asking.unreferenced {
        return Err(format!(
            "{place}: the reference is empty: there is nothing to compare an answer with"
        ));
    }
    let id = match record.get("id").or_else(|| record.get("task_id")) {
        Some(Value::String(id)) => id.clone(),
        Some(id @ Value::Number(_)) => id.to_string(),
        _ => index.to_string(),
    };
    Ok(Question {
        id,
        prompt,
        references: reference.into_iter().collect(),
        record,
    })
}

fn summarize(document: &str, asking: Asking<'_>) -> Result<Prompt, String> {
    let template = asking.template.unwrap_or(match asking.chat {
        true => "Summarize this text in a few sentences.\n\n{document}",
        false => "{document}\n\nSummary:",
    });
    let passage = around(template, "document", document, &[])
        .ok_or("the prompt: expected `{document}` where the text goes")?;
    Ok(match asking.chat {
        true => Prompt::Chat(Vec::new(), passage),
        false => Prompt::Text(passage),
    })
}

/// An example as training has it, without its answer, and the answer.
fn asked(example: Example, asking: Asking<'_>, place: &str) -> Result<(Prompt, String), String> {
    let text = |text: String| {
        Prompt::Text(Passage {
            middle: text,
            keeps_end: true,
            ..Passage::default()
        })
    };
    match example {
        Example::Completion { prompt, completion } => Ok((text(prompt), completion)),
        Example::Instruction {
            system,
            instruction,
            input,
            output,
        } if asking.chat => {
            let system = system.map(|system| Message::new("system", system));
            let passage = match input.is_empty() {
                true => Passage {
                    middle: instruction,
                    ..Passage::default()
                },
                false => Passage {
                    before: format!("{instruction}\n\n"),
                    middle: input,
                    ..Passage::default()
                },
            };
            Ok((Prompt::Chat(system.into_iter().collect(), passage), output))
        }
        Example::Instruction {
            system,
            instruction,
            input,
            output,
        } => Ok((
            text(alpaca_prompt(system.as_deref(), &instruction, &input)),
            output,
        )),
        Example::Conversation { mut messages, .. } => {
            let answer = messages.pop().filter(|message| message.role == "assistant");
            let question = messages.pop().filter(|message| message.role == "user");
            let (Some(answer), Some(question)) = (answer, question) else {
                return Err(format!(
                    "{place}: expected a conversation that ends with the user's question and the assistant's answer"
                ));
            };
            let passage = Passage {
                middle: question.content,
                ..Passage::default()
            };
            Ok((Prompt::Chat(messages, passage), answer.content))
        }
        Example::Text(_) | Example::Tokens { .. } => Err(format!(
            "{place}: expected a prompt and its answer, or a document and its summary"
        )),
    }
}

/// How near the texts came, each metric from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GenerationScores {
    /// Examples.
    pub examples: usize,
    /// The share of answers that equal the reference, white space at both ends aside.
    pub exact_match: f64,
    /// The mean F-measure of ROUGE-1.
    pub rouge1: f64,
    /// Of ROUGE-2.
    pub rouge2: f64,
    /// Of ROUGE-L.
    #[serde(rename = "rougeL")]
    pub rouge_l: f64,
    /// Whether words were compared by their stems.
    pub stemmer: bool,
    /// The share of answers that passed the check, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_rate: Option<f64>,
    /// Prompts that were shortened.
    pub truncated: usize,
    /// Bootstrap confidence intervals.
    pub intervals: GenerationIntervals,
}

/// Percentile intervals over resampled examples, `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GenerationIntervals {
    /// 0.95.
    pub level: f64,
    /// Of exact match.
    pub exact_match: [f64; 2],
    /// Of ROUGE-1.
    pub rouge1: [f64; 2],
    /// Of ROUGE-2.
    pub rouge2: [f64; 2],
    /// Of ROUGE-L.
    #[serde(rename = "rougeL")]
    pub rouge_l: [f64; 2],
    /// Of the pass rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pass_rate: Option<[f64; 2]>,
}

/// Scores generated texts, one a question in their order, of which `passed` says whether the check passed. Metrics of
/// the reference are over the questions that have one. `seed` is the bootstrap's.
pub fn score_generation(
    questions: &[Question],
    texts: &[&str],
    passed: Option<&[bool]>,
    truncated: usize,
    stemming: Stemming,
    seed: u64,
) -> GenerationScores {
    let compared: Vec<(f64, Rouge)> = questions
        .iter()
        .zip(texts)
        .filter_map(|(question, text)| {
            let reference = question.references.first()?;
            let exact = f64::from(u8::from(reference.trim() == text.trim()));
            Some((exact, rouge(reference, text, stemming)))
        })
        .collect();
    let of = |metric: fn(&(f64, Rouge)) -> f64| {
        let values: Vec<f64> = compared.iter().map(metric).collect();
        mean_interval(&values, seed)
    };
    let exact_match = of(|(exact, _)| *exact);
    let rouge1 = of(|(_, rouge)| rouge.rouge1.f1);
    let rouge2 = of(|(_, rouge)| rouge.rouge2.f1);
    let rouge_l = of(|(_, rouge)| rouge.rouge_l.f1);
    let pass_rate = passed.map(|passed| {
        let passed: Vec<f64> = passed.iter().map(|&passed| f64::from(u8::from(passed))).collect();
        mean_interval(&passed, seed)
    });
    GenerationScores {
        examples: questions.len().min(texts.len()),
        exact_match: exact_match.value,
        rouge1: rouge1.value,
        rouge2: rouge2.value,
        rouge_l: rouge_l.value,
        stemmer: stemming == Stemming::Porter,
        pass_rate: pass_rate.map(|interval| interval.value),
        truncated,
        intervals: GenerationIntervals {
            level: LEVEL,
            exact_match: [exact_match.low, exact_match.high],
            rouge1: [rouge1.low, rouge1.high],
            rouge2: [rouge2.low, rouge2.high],
            rouge_l: [rouge_l.low, rouge_l.high],
            pass_rate: pass_rate.map(|interval| [interval.low, interval.high]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, asking: Asking<'_>) -> Result<Vec<Question>, TaskError> {
        let dataset =
            Dataset::from_bytes("a.jsonl", text.as_bytes(), Some(Format::PromptCompletion)).unwrap();
        of_dataset(&dataset, asking)
    }

    #[test]
    fn documents_and_prompts_are_asked_and_scored() {
        let text = r#"{"id": "x", "article": "The cat sat on the mat.", "highlights": "A cat sat."}
            {"prompt": "2 + 2 =", "completion": " 4"}"#;
        let found = read(text, Asking::default()).unwrap();
        assert_eq!([found[0].id.as_str(), found[1].id.as_str()], ["x", "1"]);
        let Prompt::Text(passage) = &found[0].prompt else {
            panic!("no text")
        };
        assert_eq!(passage.after, "\n\nSummary:");
        let scores = score_generation(&found, &["a cat sits", "4\n"], None, 0, Stemming::Off, 1);
        assert_eq!((scores.examples, scores.exact_match), (2, 0.5));
        assert!(
            (scores.rouge1 - (2.0 / 3.0 + 1.0) / 2.0).abs() < 1e-12,
            "{scores:?}"
        );
        assert_eq!(scores.pass_rate, None);
        let chat = Asking {
            chat: true,
            template: Some("TL;DR of {document}"),
            ..Asking::default()
        };
        let found = read(text.lines().next().unwrap(), chat).unwrap();
        let Prompt::Chat(_, passage) = &found[0].prompt else {
            panic!("no chat")
        };
        assert_eq!(passage.before, "TL;DR of ");
    }

    #[test]
    fn a_check_needs_no_reference() {
        let text = r#"{"task_id": "HumanEval/0", "prompt": "def f():\n", "test": "assert f() == 1"}"#;
        let error = read(text, Asking::default()).unwrap_err().to_string();
        assert!(error.contains("a.jsonl:1"), "{error}");
        let asking = Asking {
            unreferenced: true,
            ..Asking::default()
        };
        let found = read(text, asking).unwrap();
        assert_eq!(found[0].record["test"], "assert f() == 1");
        let scores = score_generation(&found, &["    return 1"], Some(&[true]), 0, Stemming::Off, 1);
        assert_eq!(scores.pass_rate, Some(1.0));
        assert_eq!(scores.intervals.pass_rate, Some([1.0, 1.0]));
    }
}
