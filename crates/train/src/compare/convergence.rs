//! Loss curves that can be set beside each other, and when one reaches where another ended.

use serde::Serialize;

use crate::StepMetric;

/// A smoothed loss curve.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curve {
    /// Steps, rising.
    pub steps: Vec<usize>,
    /// The mean over seeds of the moving mean of the training loss.
    pub losses: Vec<f64>,
}

impl Curve {
    /// The mean over runs of the moving mean over the last `window` steps. A curve begins with its first whole window;
    /// steps that some run has no finite loss for are left out.
    pub fn of(runs: &[&[StepMetric]], window: usize) -> Self {
        let mut curve = Self::default();
        let shortest = runs.iter().map(|run| run.len()).min().unwrap_or(0);
        let window = window.clamp(1, shortest.max(1));
        for end in window..=shortest {
            let losses = runs
                .iter()
                .flat_map(|run| &run[end - window..end])
                .map(|metric| metric.loss.map(f64::from));
            if let Some(losses) = losses.collect::<Option<Vec<f64>>>() {
                curve.steps.push(runs[0][end - 1].step);
                curve
                    .losses
                    .push(losses.iter().sum::<f64>() / losses.len() as f64);
            }
        }
        curve
    }

    /// Where it ends.
    pub fn last(&self) -> Option<f64> {
        self.losses.last().copied()
    }

    /// The first step whose smoothed loss is `loss` or lower.
    pub fn reaches(&self, loss: f64) -> Option<usize> {
        let place = self.losses.iter().position(|&found| found <= loss)?;
        Some(self.steps[place])
    }
}

/// Steps that are averaged: a tenth of the run, as single steps of different batches say little.
pub fn window(steps: usize) -> usize {
    (steps / 10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(losses: &[f32]) -> Vec<StepMetric> {
        let metric = |(index, loss): (usize, &f32)| StepMetric {
            step: index + 1,
            loss: Some(*loss).filter(|loss| loss.is_finite()),
            grad_norm: None,
            lr: 0.1,
            tokens: 1,
            input_tokens: 1,
            seconds: 1.0,
            skipped: false,
        };
        losses.iter().enumerate().map(metric).collect()
    }

    #[test]
    fn a_curve_is_the_mean_over_window_and_runs() {
        let (a, b) = (run(&[4.0, 2.0, 1.0]), run(&[2.0, 2.0, 0.0]));
        let curve = Curve::of(&[&a, &b], 2);
        assert_eq!(
            (curve.steps.as_slice(), curve.losses.as_slice()),
            (&[2, 3][..], &[2.5, 1.25][..])
        );
        assert_eq!(
            (curve.reaches(2.5), curve.reaches(2.0), curve.reaches(1.0)),
            (Some(2), Some(3), None)
        );
        let gap = run(&[4.0, f32::NAN, 1.0]);
        assert_eq!(Curve::of(&[&gap], 1).steps, [1, 3]);
        assert_eq!(Curve::of(&[], 3), Curve::default());
        assert_eq!((window(5), window(60)), (1, 6));
    }
}
