//! Which method to take: the least memory among those that are as good as the best and nearly as fast.

use serde::Serialize;

use super::analysis::{Analysis, MethodFigures};
use super::metric::Metric;
use super::text::{bytes, percent};
use crate::Method;

/// A step may take this many times the fastest good method's, for less memory.
pub const SLOWER_AT_MOST: f64 = 1.15;

/// From this many seeds on, what counts as equal is their interval.
const SEEDS_FOR_INTERVAL: usize = 3;

/// Losses that differ by less than this share are equal where no interval says more.
const EQUAL_LOSS: f64 = 0.01;

/// A method that the memory limit leaves no room for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NotRun {
    /// The method.
    pub method: Method,
    /// Its name for people.
    pub label: &'static str,
    /// What a run would take at its highest, by plan.
    pub peak_bytes: u64,
}

/// What to take, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// The method.
    pub method: Method,
    /// Its name for people.
    pub label: &'static str,
    /// Sentences, each with its figures.
    pub reasons: Vec<String>,
}

/// Recommends one of the methods that were run; None where none was.
pub fn recommend(analysis: &Analysis, not_run: &[NotRun], limit: Option<u64>) -> Option<Recommendation> {
    let metric = analysis.metric;
    let mean = |figures: &MethodFigures| figures.mean(metric);
    let better = |a: &&MethodFigures, b: &&MethodFigures| {
        let gain = metric.gain(mean(a).unwrap_or(f64::NAN), mean(b).unwrap_or(f64::NAN));
        gain.total_cmp(&0.0)
    };
    let best = analysis.methods.iter().max_by(better)?;
    let (tolerance, how) = tolerance(best, metric);
    let gap = |figures: &MethodFigures| Some(metric.gain(mean(best)?, mean(figures)?));
    let (good, worse): (Vec<&MethodFigures>, Vec<&MethodFigures>) = analysis
        .methods
        .iter()
        .partition(|figures| gap(figures).is_none_or(|gap| gap <= tolerance));
    let time = |figures: &MethodFigures| figures.step_time_ratio;
    let fastest = good
        .iter()
        .filter_map(|figures| time(figures))
        .min_by(|a, b| a.median.total_cmp(&b.median));
    // On a busy machine medians wander: slower is whose quick steps take longer than the fastest's slow ones.
    let is_quick = |figures: &&MethodFigures| match (time(figures), fastest) {
        (Some(time), Some(fastest)) => time.low <= fastest.high * SLOWER_AT_MOST,
        _ => true,
    };
    let (quick, slow): (Vec<&MethodFigures>, Vec<&MethodFigures>) = good.into_iter().partition(is_quick);
    let chosen = quick
        .iter()
        .min_by_key(|figures| figures.peak_device_bytes.total)?;
    let mut reasons = Vec::new();
    if let Some(limit) = limit {
        reasons.push(format!(
            "It takes {} of the {} that you have.",
            bytes(chosen.peak_device_bytes.total),
            bytes(limit)
        ));
    }
    for other in not_run {
        let label = other.label;
        let needs = bytes(other.peak_bytes);
        reasons.push(format!(
            "{label} was not run: by plan it takes {needs}, more than the limit."
        ));
    }
    if let Some(reason) = quality(chosen, best, metric, &how) {
        reasons.push(reason);
    }
    for figures in worse {
        if let Some(gap) = gap(figures) {
            let by = amount(metric, gap);
            reasons.push(format!(
                "{} is worse by {by}, which is more than {how}.",
                figures.label
            ));
        }
    }
    for figures in slow {
        if let (Some(time), Some(fastest)) = (time(figures), fastest) {
            reasons.push(format!(
                "{} is as good, and a step takes {:.2} times the fastest's, more than {SLOWER_AT_MOST}.",
                figures.label,
                time.median / fastest.median.max(1e-9)
            ));
        }
    }
    for figures in &quick {
        if figures.method != chosen.method {
            reasons.push(against(chosen, figures));
        }
    }
    Some(Recommendation {
        method: chosen.method,
        label: chosen.label,
        reasons,
    })
}

/// How much worse still counts as equal, and what that is.
fn tolerance(best: &MethodFigures, metric: Metric) -> (f64, String) {
    let Some(figure) = best.measured.get(&metric) else {
        return (f64::INFINITY, "nothing, as nothing was measured".to_owned());
    };
    let estimate = &figure.estimate;
    let seeds = estimate.values.len();
    if let Some([low, high]) = estimate.interval
        && seeds >= SEEDS_FOR_INTERVAL
    {
        let half = (high - low) / 2.0;
        let how = format!(
            "the half width of {}'s interval over {seeds} seeds ({})",
            best.label,
            amount(metric, half)
        );
        return (half, how);
    }
    match figure.over_examples {
        Some([low, _]) => {
            let half = estimate.mean - low;
            let how = format!(
                "what chance among the examples explains ({})",
                amount(metric, half)
            );
            (half, how)
        }
        None => (
            estimate.mean.abs() * EQUAL_LOSS,
            format!("{} of the loss", percent(EQUAL_LOSS)),
        ),
    }
}

/// A difference of the metric.
fn amount(metric: Metric, value: f64) -> String {
    match metric.is_score() {
        true => format!("{:.1} points of {}", value * 100.0, metric.label()),
        false => format!("{value:.4} of {}", metric.label()),
    }
}

fn quality(chosen: &MethodFigures, best: &MethodFigures, metric: Metric, how: &str) -> Option<String> {
    let (one, other) = (chosen.mean(metric)?, best.mean(metric)?);
    let value = |value: f64| match metric.is_score() {
        true => percent(value),
        false => format!("{value:.4}"),
    };
    let name = metric.label();
    Some(if metric.gain(other, one) <= 0.0 {
        format!("It has the best {name}, {}.", value(one))
    } else {
        format!(
            "Its {name} is {}, and the best, {}'s, is {}: the difference is within {how}.",
            value(one),
            best.label,
            value(other)
        )
    })
}

/// The chosen one beside another that is as good and nearly as fast.
fn against(chosen: &MethodFigures, other: &MethodFigures) -> String {
    let (one, two) = (chosen.peak_device_bytes.total, other.peak_device_bytes.total);
    let memory = change(one as f64 / two.max(1) as f64);
    let time = match (chosen.step_time_ratio, other.step_time_ratio) {
        (Some(one), Some(other)) => {
            let time = change(one.median / other.median.max(1e-9));
            format!(", and {time} time for a step")
        }
        _ => String::new(),
    };
    format!(
        "Beside {} it takes {memory} memory ({} against {}){time}.",
        other.label,
        bytes(one),
        bytes(two)
    )
}

/// `38.7 % less`, of a ratio.
fn change(ratio: f64) -> String {
    let (share, word) = match ratio {
        ratio if ratio < 1.0 => (1.0 - ratio, "less"),
        ratio => (ratio - 1.0, "more"),
    };
    format!("{} {word}", percent(share))
}

#[cfg(test)]
mod tests {
    use super::super::analysis::Figure;
    use super::super::statistics::{Estimate, Spread};
    use super::*;
    use crate::PeakBytes;

    fn figures(method: Method, score: f64, peak: u64, time: f64) -> MethodFigures {
        let figure = Figure {
            estimate: Estimate::of(vec![score, score]).unwrap(),
            over_examples: Some([score - 0.03, score + 0.03]),
            difference: None,
        };
        MethodFigures {
            method,
            label: method.label(),
            peak_device_bytes: PeakBytes {
                total: peak,
                ..PeakBytes::default()
            },
            base_bytes: 0,
            base_file_bytes: 0,
            adapter_bytes: 0,
            trainable_parameters: 1,
            steps_per_second: None,
            tokens_per_second: None,
            step_time_ratio: Spread::of(vec![time]),
            measured: [(Metric::F1, figure)].into(),
            curve: Default::default(),
        }
    }

    fn choice(methods: Vec<MethodFigures>) -> Recommendation {
        let analysis = Analysis {
            metric: Metric::F1,
            metrics: vec![Metric::F1],
            window: 1,
            methods,
            reaches: Vec::new(),
        };
        recommend(&analysis, &[], Some(2000)).unwrap()
    }

    #[test]
    fn less_memory_wins_among_equals() {
        let lora = figures(Method::Lora, 0.85, 1000, 1.0);
        let found = choice(vec![lora.clone(), figures(Method::QloraDq, 0.84, 400, 1.1)]);
        assert_eq!(found.method, Method::QloraDq);
        assert!(
            found.reasons.iter().any(|reason| reason.contains("60.0 % less")),
            "{found:?}"
        );
        let found = choice(vec![lora.clone(), figures(Method::QloraDq, 0.80, 400, 1.1)]);
        assert_eq!(found.method, Method::Lora);
        assert!(
            found
                .reasons
                .iter()
                .any(|reason| reason.contains("5.0 points of F1")),
            "{found:?}"
        );
        let mut noisy = figures(Method::QloraDq, 0.84, 400, 1.3);
        noisy.step_time_ratio = Spread::of(vec![0.8, 0.9, 1.3, 1.4, 1.5]);
        assert_eq!(choice(vec![lora.clone(), noisy]).method, Method::QloraDq);
        let found = choice(vec![lora, figures(Method::QloraDq, 0.84, 400, 1.3)]);
        assert_eq!(found.method, Method::Lora);
        assert!(
            found.reasons.iter().any(|reason| reason.contains("1.30 times")),
            "{found:?}"
        );
    }

    #[test]
    fn the_limit_leaves_only_what_was_run() {
        let analysis = Analysis {
            metric: Metric::F1,
            metrics: vec![Metric::F1],
            window: 1,
            methods: vec![figures(Method::Qlora, 0.7, 400, 1.0)],
            reaches: Vec::new(),
        };
        let not_run = [NotRun {
            method: Method::Lora,
            label: Method::Lora.label(),
            peak_bytes: 5 << 20,
        }];
        let found = recommend(&analysis, &not_run, Some(1 << 20)).unwrap();
        assert_eq!(found.method, Method::Qlora);
        assert!(
            found.reasons.iter().any(|reason| reason.contains("5.00 MiB")),
            "{found:?}"
        );
    }
}
