//! ROUGE (Lin, 2004) as the rouge-score package counts it, with and without its stemmer.

use std::collections::HashMap;

use super::porter::porter_stem;

/// Precision, recall and F-measure, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Score {
    /// The share of the prediction that is in the target.
    pub precision: f64,
    /// The share of the target that is in the prediction.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

impl Score {
    fn new(common: usize, target: usize, prediction: usize) -> Self {
        let precision = common as f64 / prediction.max(1) as f64;
        let recall = common as f64 / target.max(1) as f64;
        let sum = precision + recall;
        Self {
            precision,
            recall,
            f1: if sum > 0.0 {
                2.0 * precision * recall / sum
            } else {
                0.0
            },
        }
    }
}

/// How words are compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stemming {
    /// As they are.
    #[default]
    Off,
    /// By their stem ([`porter_stem`]), where they have more than three letters.
    Porter,
}

/// The words of a text: its lower case's runs of ASCII letters and digits.
pub fn rouge_tokens(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// ROUGE-1, -2 and -L of one prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Rouge {
    /// Of single words.
    pub rouge1: Score,
    /// Of pairs of words.
    pub rouge2: Score,
    /// Of the longest common subsequence.
    #[serde(rename = "rougeL")]
    pub rouge_l: Score,
}

/// All three.
pub fn rouge(target: &str, prediction: &str, stemming: Stemming) -> Rouge {
    let words = |text: &str| {
        let mut words = rouge_tokens(text);
        if stemming == Stemming::Porter {
            for word in words.iter_mut().filter(|word| word.len() > 3) {
                *word = porter_stem(word);
            }
        }
        // A stem may be empty.
        words.retain(|word| !word.is_empty());
        words
    };
    let (target, prediction) = (words(target), words(prediction));
    Rouge {
        rouge1: runs_in_common(&target, &prediction, 1),
        rouge2: runs_in_common(&target, &prediction, 2),
        rouge_l: common_subsequence(&target, &prediction),
    }
}

/// ROUGE-N: runs of `n` words (1 or more) in common, each as often as both have it.
pub fn rouge_n(target: &str, prediction: &str, n: usize) -> Score {
    runs_in_common(&rouge_tokens(target), &rouge_tokens(prediction), n.max(1))
}

/// ROUGE-L: the longest common subsequence of words over the whole texts.
pub fn rouge_l(target: &str, prediction: &str) -> Score {
    common_subsequence(&rouge_tokens(target), &rouge_tokens(prediction))
}

fn runs_in_common(target: &[String], prediction: &[String], n: usize) -> Score {
    let mut counts: HashMap<&[String], usize> = HashMap::new();
    for run in target.windows(n) {
        *counts.entry(run).or_default() += 1;
    }
    let mut common = 0;
    for run in prediction.windows(n) {
        if let Some(count) = counts.get_mut(run).filter(|count| **count > 0) {
            *count -= 1;
            common += 1;
        }
    }
    Score::new(common, target.windows(n).len(), prediction.windows(n).len())
}

fn common_subsequence(target: &[String], prediction: &[String]) -> Score {
    // One row of the table: the subsequence of the target so far and each start of the prediction.
    let mut row = vec![0; prediction.len() + 1];
    for word in target {
        let mut diagonal = 0;
        for (at, other) in prediction.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if word == other {
                diagonal + 1
            } else {
                above.max(row[at])
            };
            diagonal = above;
        }
    }
    Score::new(row[prediction.len()], target.len(), prediction.len())
}
