//! Classification: the class is the label word that the model finds likeliest after the prompt.

use anylora_data::{Encoder, Example, IGNORED};
use anylora_engine::Backend;
use anylora_models::Model;
use anylora_nn::Adapters;
use serde::{Deserialize, Serialize};

use super::likelihood::{Query, Row, add_scores};
use super::task::Task;
use super::{EvalOptions, Results};
use crate::TrainError;
use crate::metrics::{Confusion, LEVEL, RESAMPLES, bootstrap};

/// Batches whose rows are sorted by length together.
const SLAB_BATCHES: usize = 16;

/// How well the classes were told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    /// Examples.
    pub examples: usize,
    /// The share of examples whose class was predicted.
    pub accuracy: f64,
    /// The mean of F1 over classes.
    pub macro_f1: f64,
    /// The words of the classes.
    pub labels: Vec<String>,
    /// `[true class][predicted class]`: examples.
    pub confusion: Vec<Vec<usize>>,
    /// Examples whose beginning was cut off.
    pub truncated: usize,
    /// Bootstrap confidence intervals.
    pub intervals: Intervals,
}

/// Percentile intervals over resampled examples, `[low, high]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Intervals {
    /// 0.95.
    pub level: f64,
    /// Of the accuracy.
    pub accuracy: [f64; 2],
    /// Of macro F1.
    pub macro_f1: [f64; 2],
}

/// What the model says of a case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaseScores {
    /// The log-probability of every word of the task.
    pub scores: Vec<f64>,
    /// Whether its beginning was cut off.
    pub truncated: bool,
}

/// Classifies every case of a task. A word's score is the sum of the log-probabilities of its tokens, as they are
/// tokenized in one text with the prompt, without an end of text after them. `seed` is the bootstrap's; `each(n)`
/// hears that `n` cases are done.
///
/// # Errors
/// Texts that can't be encoded, device errors.
pub async fn classify<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    encoder: &Encoder,
    task: &Task,
    options: EvalOptions,
    seed: u64,
    each: impl FnMut(usize),
) -> Result<Classification, TrainError> {
    let mut results = Results::default();
    case_scores(model, adapters, encoder, task, options, &mut results, each).await?;
    Ok(summarize_cases(task, &results, seed))
}

/// [`classify`] in two steps: this one adds the scores of the cases that have none yet.
///
/// # Errors
/// Those of [`classify`]; [`TrainError::File`].
pub async fn case_scores<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    encoder: &Encoder,
    task: &Task,
    options: EvalOptions,
    results: &mut Results<CaseScores>,
    mut each: impl FnMut(usize),
) -> Result<(), TrainError> {
    let EvalOptions {
        batch_size,
        max_length,
    } = options;
    let table = model.rope.table(model.backend(), max_length, max_length)?;
    let missing: Vec<usize> = (0..task.cases.len())
        .filter(|&case| results.get(case).is_none())
        .collect();
    let mut scores = vec![vec![0.0; task.words.len()]; task.cases.len()];
    // Of each case: rows that are not done, and whether it was cut.
    let mut open = vec![(0, false); task.cases.len()];
    let mut slab: Vec<(usize, Row)> = Vec::new();
    for (index, &case) in missing.iter().enumerate() {
        let (rows, truncated) = rows(encoder, task, case, max_length)?;
        open[case] = (rows.len(), truncated);
        slab.extend(rows.into_iter().map(|row| (case, row)));
        if slab.len() >= SLAB_BATCHES * batch_size || index + 1 == missing.len() {
            slab.sort_by_key(|(_, row)| row.input_ids.len());
            while !slab.is_empty() {
                let count = slab.len().min(batch_size);
                let (cases, rows): (Vec<usize>, Vec<Row>) = slab.drain(..count).unzip();
                add_scores(model, adapters, &rows, &table, &mut scores).await?;
                for case in cases {
                    let (left, truncated) = &mut open[case];
                    *left -= 1;
                    if *left == 0 {
                        let scores = std::mem::take(&mut scores[case]);
                        let truncated = *truncated;
                        results.add(case, CaseScores { scores, truncated })?;
                    }
                }
                each(results.len());
            }
        }
    }
    Ok(())
}

/// The metrics that follow from the cases' scores. `seed` is the bootstrap's.
pub fn summarize_cases(task: &Task, results: &Results<CaseScores>, seed: u64) -> Classification {
    let found = || results.iter().filter(|(case, _)| *case < task.cases.len());
    let pairs: Vec<(usize, usize)> = found()
        .map(|(case, found)| (task.cases[case].truth, likeliest(&found.scores)))
        .collect();
    Classification {
        truncated: found().filter(|(_, found)| found.truncated).count(),
        ..summarize(&task.words, &pairs, seed)
    }
}

/// The rows that a case's words need, and whether any of them lost its beginning.
fn rows(
    encoder: &Encoder,
    task: &Task,
    case: usize,
    max_length: usize,
) -> Result<(Vec<Row>, bool), TrainError> {
    let mut rows: Vec<Row> = Vec::new();
    let mut cut = false;
    for (word, completion) in task.words.iter().enumerate() {
        let encoded = encoder.encode(&Example::Completion {
            prompt: task.cases[case].prompt.clone(),
            completion: completion.clone(),
        })?;
        let mut tokens = encoded.input_ids.len();
        // The word alone is scored, not whether the text ends after it.
        if encoded.input_ids.last().copied() == encoder.tokenizer().eos_id() {
            tokens -= 1;
        }
        let inputs = tokens.saturating_sub(1);
        let start = inputs.saturating_sub(max_length);
        cut |= start > 0;
        let input_ids = &encoded.input_ids[start..inputs];
        let queries = (start..inputs)
            .filter(|&place| encoded.labels[place + 1] != IGNORED)
            .map(|place| Query {
                position: place - start,
                token: encoded.input_ids[place + 1],
                score: [case, word],
            });
        match rows.iter_mut().find(|row| row.input_ids == input_ids) {
            Some(row) => row.queries.extend(queries),
            None => rows.push(Row {
                input_ids: input_ids.to_vec(),
                queries: queries.collect(),
            }),
        }
    }
    Ok((rows, cut))
}

/// The first of the largest.
fn likeliest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (word, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = word;
        }
    }
    best
}

/// Metrics of `(true, predicted)` pairs.
fn summarize(words: &[String], pairs: &[(usize, usize)], seed: u64) -> Classification {
    let confusion = |drawn: &[usize]| {
        let drawn = drawn.iter().map(|&example| pairs[example]);
        Confusion::new(words.len(), drawn).unwrap_or(Confusion { counts: Vec::new() })
    };
    let interval = |metric: fn(&Confusion) -> f64| {
        bootstrap(pairs.len(), RESAMPLES, LEVEL, seed, |drawn| {
            metric(&confusion(drawn))
        })
    };
    let accuracy = interval(Confusion::accuracy);
    let macro_f1 = interval(Confusion::macro_f1);
    let all: Vec<usize> = (0..pairs.len()).collect();
    Classification {
        examples: pairs.len(),
        accuracy: accuracy.value,
        macro_f1: macro_f1.value,
        labels: words.to_vec(),
        confusion: confusion(&all).counts,
        truncated: 0,
        intervals: Intervals {
            level: LEVEL,
            accuracy: [accuracy.low, accuracy.high],
            macro_f1: [macro_f1.low, macro_f1.high],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_follow_from_the_pairs() {
        let words = ["a".to_owned(), "b".to_owned()];
        let pairs = [(0, 0), (0, 1), (1, 1), (1, 1)];
        let found = summarize(&words, &pairs, 1);
        assert_eq!(found.confusion, [[1, 1], [0, 2]]);
        assert!((found.accuracy - 0.75).abs() < 1e-12);
        // F1: 2/3 and 4/5.
        assert!((found.macro_f1 - (2.0 / 3.0 + 0.8) / 2.0).abs() < 1e-12);
        let [low, high] = found.intervals.accuracy;
        assert!(low < 0.75 && 0.75 < high && high <= 1.0, "{low} {high}");
        assert_eq!(summarize(&words, &pairs, 1), found);
        assert_eq!(likeliest(&[-2.0, -1.0, -1.0]), 1);
    }
}
