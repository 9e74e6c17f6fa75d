//! ROUGE (Lin, 2004) as the rouge-score package counts it, without stemming.

use std::collections::HashMap;

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

/// The words of a text: its lower case's runs of ASCII letters and digits.
pub fn rouge_tokens(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit());
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// ROUGE-N: runs of `n` words (1 or more) in common, each as often as both have it.
pub fn rouge_n(target: &str, prediction: &str, n: usize) -> Score {
    let (target, prediction) = (rouge_tokens(target), rouge_tokens(prediction));
    let n = n.max(1);
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

/// ROUGE-L: the longest common subsequence of words over the whole texts.
pub fn rouge_l(target: &str, prediction: &str) -> Score {
    let (target, prediction) = (rouge_tokens(target), rouge_tokens(prediction));
    // One row of the table: the subsequence of the target so far and each start of the prediction.
    let mut row = vec![0; prediction.len() + 1];
    for word in &target {
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
