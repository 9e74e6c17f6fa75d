//! Bootstrap confidence intervals (Efron, 1979; percentile method).

use anylora_engine::philox4x32;

/// Resamples of an evaluation's intervals.
pub const RESAMPLES: usize = 1000;
/// Their level.
pub const LEVEL: f64 = 0.95;

/// A metric with its interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The metric of all examples.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// The metric of `examples` examples and its interval of `level` (0.95): the metric is computed `resamples` times for
/// as many examples drawn with replacement. `metric` is handed the drawn examples' numbers. The same seed gives the
/// same interval. Without examples, or without resamples, the interval is the value alone.
pub fn bootstrap(
    examples: usize,
    resamples: usize,
    level: f64,
    seed: u64,
    mut metric: impl FnMut(&[usize]) -> f64,
) -> Interval {
    let mut drawn: Vec<usize> = (0..examples).collect();
    let value = metric(&drawn);
    if examples == 0 || resamples == 0 {
        return Interval {
            value,
            low: value,
            high: value,
        };
    }
    let key = [seed as u32, (seed >> 32) as u32];
    let mut values: Vec<f64> = (0..resamples)
        .map(|resample| {
            for (block, places) in drawn.chunks_mut(4).enumerate() {
                let words = philox4x32([block as u32, resample as u32, 0, 0], key);
                for (place, word) in places.iter_mut().zip(words) {
                    // The upper half of a product is uniform below `examples`.
                    *place = ((u64::from(word) * examples as u64) >> 32) as usize;
                }
            }
            metric(&drawn)
        })
        .collect();
    values.sort_by(f64::total_cmp);
    let tail = (1.0 - level.clamp(0.0, 1.0)) / 2.0;
    Interval {
        value,
        low: quantile(&values, tail),
        high: quantile(&values, 1.0 - tail),
    }
}

/// Linear interpolation between the two nearest of the sorted values.
fn quantile(values: &[f64], at: f64) -> f64 {
    let place = at * (values.len() - 1) as f64;
    let (below, above) = (values[place.floor() as usize], values[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// The mean of `values` and its interval at [`LEVEL`].
pub fn mean_interval(values: &[f64], seed: u64) -> Interval {
    bootstrap(values.len(), RESAMPLES, LEVEL, seed, |drawn| {
        drawn.iter().map(|&example| values[example]).sum::<f64>() / drawn.len().max(1) as f64
    })
}
