//! The learning rate of each step, as transformers' schedules give it.

use crate::Schedule;

/// A learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LearningRate {
    /// After the warm-up.
    pub peak: f32,
    /// Shape.
    pub schedule: Schedule,
    /// Steps of the warm-up.
    pub warmup_steps: usize,
    /// Steps in all.
    pub total_steps: usize,
}

impl LearningRate {
    /// The rate of step `step`, counted from 1: with `done = step - 1` finished steps, `done / warmup` of the peak
    /// during the warm-up; then the rest of the way from 1 to 0 in a line, or `(1 + cos(pi progress)) / 2`.
    pub fn at(&self, step: usize) -> f32 {
        let done = step.saturating_sub(1) as f64;
        let (warmup, total) = (self.warmup_steps as f64, self.total_steps as f64);
        if done < warmup {
            return (f64::from(self.peak) * done / warmup) as f32;
        }
        let progress = ((done - warmup) / (total - warmup).max(1.0)).min(1.0);
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        (f64::from(self.peak) * factor) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of transformers' get_linear_schedule_with_warmup and get_cosine_schedule_with_warmup (2 warm-up steps
    /// of 10), worked out from their formula.
    #[test]
    fn known_values() {
        let rate = |schedule| LearningRate {
            peak: 1.0,
            schedule,
            warmup_steps: 2,
            total_steps: 10,
        };
        let all = |schedule| (1..=10).map(|step| rate(schedule).at(step)).collect::<Vec<_>>();
        assert_eq!(
            all(Schedule::Linear),
            [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
        );
        let cosine = all(Schedule::Cosine);
        assert_eq!((cosine[1], cosine[2], cosine[6]), (0.5, 1.0, 0.5));
        assert!((cosine[9] - 0.038_060_233).abs() < 1e-7);
        assert_eq!(all(Schedule::Constant)[2..], [1.0; 8]);
    }
}
