//! Accuracy, macro F1 and the confusion matrix.

/// `counts[t][p]`: examples of class `t` for which class `p` was predicted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Confusion {
    /// Row by true class, column by predicted class.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Counts `(true, predicted)` pairs of `classes` classes; `None` where a class is not below `classes`.
    pub fn new(classes: usize, pairs: impl IntoIterator<Item = (usize, usize)>) -> Option<Self> {
        let mut counts = vec![vec![0; classes]; classes];
        for (truth, predicted) in pairs {
            *counts.get_mut(truth)?.get_mut(predicted)? += 1;
        }
        Some(Self { counts })
    }

    /// Examples.
    pub fn total(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    /// The share of examples whose class was predicted; 0 without examples.
    pub fn accuracy(&self) -> f64 {
        let right: usize = (0..self.counts.len())
            .map(|class| self.counts[class][class])
            .sum();
        ratio(right, self.total())
    }

    /// F1 of one class, `2 TP / (2 TP + FP + FN)`; `None` where it is neither true nor predicted anywhere.
    pub fn f1(&self, class: usize) -> Option<f64> {
        let truth: usize = self.counts[class].iter().sum();
        let predicted: usize = self.counts.iter().map(|row| row[class]).sum();
        (truth + predicted > 0).then(|| ratio(2 * self.counts[class][class], truth + predicted))
    }

    /// The mean of F1 over the classes that occur, each of equal weight (scikit-learn's `average="macro"`).
    pub fn macro_f1(&self) -> f64 {
        let scores: Vec<f64> = (0..self.counts.len())
            .filter_map(|class| self.f1(class))
            .collect();
        scores.iter().sum::<f64>() / scores.len().max(1) as f64
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}
