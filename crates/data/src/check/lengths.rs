//! How long the records are.

use serde::Serialize;

/// Records of a range of lengths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    /// The least tokens.
    pub from: usize,
    /// The most.
    pub to: usize,
    /// How many records.
    pub records: usize,
}

/// Lengths in tokens, before truncation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// The shortest.
    pub min: usize,
    /// Half of the records are not longer.
    pub median: usize,
    /// 95 of 100 records are not longer.
    pub p95: usize,
    /// The longest.
    pub max: usize,
    /// The mean.
    pub mean: f64,
    /// All of them, in ranges of one width.
    pub histogram: Vec<Bucket>,
}

/// Ranges in a histogram, about.
const BUCKETS: usize = 10;

impl Lengths {
    pub(super) fn new(mut lengths: Vec<usize>) -> Self {
        lengths.sort_unstable();
        let (Some(&min), Some(&max)) = (lengths.first(), lengths.last()) else {
            return Self::default();
        };
        let quantile = |of_100: usize| lengths[(lengths.len() * of_100).div_ceil(100).saturating_sub(1)];
        let width = round_width((max - min) / BUCKETS + 1);
        let first = min / width;
        let mut histogram: Vec<Bucket> = (first..=max / width)
            .map(|at| Bucket {
                from: at * width,
                to: (at + 1) * width - 1,
                records: 0,
            })
            .collect();
        for length in &lengths {
            histogram[length / width - first].records += 1;
        }
        let mean = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        Self {
            min,
            median: quantile(50),
            p95: quantile(95),
            max,
            mean,
            histogram,
        }
    }
}

/// The next of 1, 2, 5, 10, 20, 50, ... that is not less.
fn round_width(width: usize) -> usize {
    let mut ten = 1;
    loop {
        if let Some(step) = [1, 2, 5].into_iter().find(|step| ten * step >= width) {
            return ten * step;
        }
        ten *= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_is_in_its_bucket() {
        let lengths = Lengths::new((1..=100).rev().collect());
        assert_eq!(
            [lengths.min, lengths.median, lengths.p95, lengths.max],
            [1, 50, 95, 100]
        );
        assert!((lengths.mean - 50.5).abs() < 1e-9);
        assert_eq!(lengths.histogram.len(), 11);
        assert_eq!(
            lengths.histogram[0],
            Bucket {
                from: 0,
                to: 9,
                records: 9
            }
        );
        assert_eq!(
            lengths.histogram[10],
            Bucket {
                from: 100,
                to: 109,
                records: 1
            }
        );
        assert_eq!(
            lengths
                .histogram
                .iter()
                .map(|bucket| bucket.records)
                .sum::<usize>(),
            100
        );
        assert_eq!(
            Lengths::new(vec![7]).histogram,
            [Bucket {
                from: 7,
                to: 7,
                records: 1
            }]
        );
        assert_eq!(Lengths::new(Vec::new()), Lengths::default());
    }

    #[test]
    fn widths_are_round() {
        assert_eq!(
            [1, 2, 3, 6, 11, 51, 120].map(round_width),
            [1, 2, 5, 10, 20, 100, 200]
        );
    }
}
