//! Medians, quartiles, and confidence intervals over seeds.

use serde::Serialize;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The level of all intervals.
pub const LEVEL: f64 = 0.95;

/// Where the middle half of some values lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// A quarter of the values is below.
    pub low: f64,
    /// A quarter of the values is above.
    pub high: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Of values in any order; None of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        (count > 0).then(|| Self {
            median: quantile(&values, 0.5),
            low: quantile(&values, 0.25),
            high: quantile(&values, 0.75),
            count,
        })
    }
}

/// A figure that every seed gives once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// One a seed.
    pub values: Vec<f64>,
    /// Their mean.
    pub mean: f64,
    /// `mean ± t s / sqrt(n)`, with the 97.5 % quantile `t` of Student's distribution of `n - 1` degrees of freedom and
    /// the sample's standard deviation `s`; None of one value.
    pub interval: Option<[f64; 2]>,
}

impl Estimate {
    /// None of no values.
    pub fn of(values: Vec<f64>) -> Option<Self> {
        let count = values.len() as f64;
        if values.is_empty() {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let interval = StudentsT::new(0.0, 1.0, count - 1.0).ok().map(|student| {
            let t = student.inverse_cdf(0.5 + LEVEL / 2.0);
            let half = t * (squares / (count - 1.0)).sqrt() / count.sqrt();
            [mean - half, mean + half]
        });
        Some(Self {
            values,
            mean,
            interval,
        })
    }
}

/// Linear interpolation between the two nearest of the sorted values, which are at least one.
fn quantile(values: &[f64], at: f64) -> f64 {
    let place = at * (values.len() - 1) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0, 5.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (2.0, 3.0, 4.0));
        let spread = Spread::of(vec![1.0, 2.0]).unwrap();
        assert_eq!(
            (spread.low, spread.median, spread.high, spread.count),
            (1.25, 1.5, 1.75, 2)
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn intervals_have_students_width() {
        // t of 1 and of 4 degrees of freedom: 12.7062, 2.7764 (tables; scipy.stats.t.ppf(0.975, n)).
        let two = Estimate::of(vec![0.8, 0.9]).unwrap();
        let [low, high] = two.interval.unwrap();
        let half = 12.706_205 * 0.05_f64.hypot(0.05) / 2_f64.sqrt();
        assert!((two.mean - 0.85).abs() < 1e-12);
        assert!((high - 0.85 - half).abs() < 1e-6 && (0.85 - low - half).abs() < 1e-6);
        let five = Estimate::of(vec![1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let half = 2.776_445 * 2.5_f64.sqrt() / 5_f64.sqrt();
        assert!((five.interval.unwrap()[1] - 3.0 - half).abs() < 1e-5);
        assert_eq!(Estimate::of(vec![1.0]).unwrap().interval, None);
        assert_eq!(Estimate::of(Vec::new()), None);
    }
}
