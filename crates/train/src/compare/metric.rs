//! What methods are judged by, and what else is measured.

use serde::{Deserialize, Serialize};

/// A figure that every run gives once. Those of one task follow each other as reports show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The share of held-out examples whose class was predicted.
    Accuracy,
    /// The mean of F1 over classes.
    MacroF1,
    /// The share of held-out questions whose answer equals a reference, normalized as SQuAD's scripts do.
    ExactMatch,
    /// The mean F1 of words.
    F1,
    /// The mean F-measure of ROUGE-1.
    Rouge1,
    /// Of ROUGE-2.
    Rouge2,
    /// Of ROUGE-L.
    #[serde(rename = "rougeL")]
    RougeL,
    /// Loss on held-out data.
    EvalLoss,
    /// Loss at the end of training.
    TrainLoss,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Accuracy,
        Self::MacroF1,
        Self::ExactMatch,
        Self::F1,
        Self::Rouge1,
        Self::Rouge2,
        Self::RougeL,
        Self::EvalLoss,
        Self::TrainLoss,
    ];

    /// Those that a comparison is decided by, the first that all runs have: one a task, then the losses.
    pub const MAIN: [Self; 5] = [
        Self::Accuracy,
        Self::F1,
        Self::RougeL,
        Self::EvalLoss,
        Self::TrainLoss,
    ];

    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro_f1",
            Self::ExactMatch => "exact_match",
            Self::F1 => "f1",
            Self::Rouge1 => "rouge1",
            Self::Rouge2 => "rouge2",
            Self::RougeL => "rougeL",
            Self::EvalLoss => "eval_loss",
            Self::TrainLoss => "train_loss",
        }
    }

    /// Its name for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::MacroF1 => "macro F1",
            Self::ExactMatch => "exact match",
            Self::F1 => "F1",
            Self::Rouge1 => "ROUGE-1",
            Self::Rouge2 => "ROUGE-2",
            Self::RougeL => "ROUGE-L",
            Self::EvalLoss => "held-out loss",
            Self::TrainLoss => "training loss",
        }
    }

    /// Whether it is a score from 0 to 1, and higher is better; losses are lower where they are better.
    pub const fn is_score(self) -> bool {
        !matches!(self, Self::EvalLoss | Self::TrainLoss)
    }

    /// How much better `a` is than `b`.
    pub fn gain(self, a: f64, b: f64) -> f64 {
        if self.is_score() { a - b } else { b - a }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_files() {
        for metric in Metric::ALL {
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
    }

    #[test]
    fn more_is_better_but_for_losses() {
        assert!(Metric::RougeL.gain(0.5, 0.25) > 0.0 && Metric::EvalLoss.gain(0.5, 0.25) < 0.0);
    }
}
