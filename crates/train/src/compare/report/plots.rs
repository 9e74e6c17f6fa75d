//! The report's pictures.

use serde::Serialize;

use super::bars::{Bars, Row, Tick, round_ticks};
use super::theme::{SERIES, classed};
use super::{Report, curves};
use crate::compare::analysis::MethodFigures;
use crate::compare::metric::Metric;
use crate::compare::text::{bytes, digits, percent, steps};
use crate::run::PeakBytes;

/// Kinds of memory, in the order of bars.
const KINDS: [&str; 6] = [
    "weights",
    "adapter",
    "gradients",
    "optimizer",
    "activations",
    "scratch",
];
/// Cards whose memory is marked, in GiB.
const CARDS: [u64; 4] = [24, 48, 80, 141];
const GIB: f64 = (1_u64 << 30) as f64;

/// A picture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plot {
    /// Its file's name.
    pub name: &'static str,
    /// What it shows, in a line.
    pub title: String,
    /// SVG whose colours are classes.
    pub svg: String,
}

/// All pictures that there is something to draw for.
pub fn plots(report: &Report) -> Vec<Plot> {
    let metric = report.analysis.metric;
    let drawn = [
        ("memory", "Peak device memory by kind".to_owned(), memory(report)),
        (
            "speed",
            "Tokens a second (median; the line spans the middle half of steps)".to_owned(),
            speed(&report.analysis.methods),
        ),
        (
            "loss",
            format!(
                "Training loss by step: mean over seeds, moving mean of {}",
                steps(report.analysis.window)
            ),
            loss(&report.analysis.methods),
        ),
        (
            "quality",
            quality_title(report, metric),
            quality(&report.analysis.methods, metric),
        ),
        (
            "larger_models",
            "Peak device memory of larger models, by plan with these settings".to_owned(),
            larger(report),
        ),
    ];
    drawn
        .into_iter()
        .filter_map(|(name, title, svg)| {
            Some(Plot {
                name,
                title,
                svg: classed(&svg?),
            })
        })
        .collect()
}

fn by_kind(peak: &PeakBytes) -> Vec<(f64, super::theme::Colour)> {
    let part = |(kind, colour): (&&str, _)| (peak.by_kind.get(*kind).copied().unwrap_or(0) as f64, colour);
    KINDS.iter().zip(SERIES).map(part).collect()
}

fn kinds() -> Vec<(String, super::theme::Colour)> {
    KINDS
        .iter()
        .zip(SERIES)
        .map(|(kind, colour)| ((*kind).to_owned(), colour))
        .collect()
}

fn memory(report: &Report) -> Option<String> {
    let rows: Vec<Row> = report
        .analysis
        .methods
        .iter()
        .map(|figures| Row {
            name: figures.label.to_owned(),
            text: bytes(figures.peak_device_bytes.total),
            parts: by_kind(&figures.peak_device_bytes),
            interval: None,
        })
        .collect();
    let most = report
        .analysis
        .methods
        .iter()
        .map(|figures| figures.peak_device_bytes.total)
        .max()? as f64;
    // Round in the unit that is shown.
    let unit = 1024_f64.powf((most.max(1.0).ln() / 1024_f64.ln()).floor());
    let mut ticks = round_ticks(0.0, most / unit, |at| bytes((at * unit) as u64));
    for tick in &mut ticks {
        tick.at *= unit;
    }
    Bars {
        rows,
        ticks,
        range: [0.0, most * 1.02],
        legend: kinds(),
    }
    .svg()
}

fn speed(methods: &[MethodFigures]) -> Option<String> {
    let spreads: Vec<_> = methods
        .iter()
        .filter_map(|figures| Some((figures, figures.tokens_per_second?)))
        .collect();
    let most = spreads.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
    let rows = spreads
        .iter()
        .enumerate()
        .map(|(index, (figures, spread))| {
            let ratio = figures.step_time_ratio.map(|ratio| ratio.median);
            let ratio = ratio.map_or(String::new(), |ratio| format!(" (step time x {ratio:.2})"));
            Row {
                name: figures.label.to_owned(),
                text: format!("{}{ratio}", digits(spread.median)),
                parts: vec![(spread.median, SERIES[index % SERIES.len()])],
                interval: Some([spread.low, spread.high]),
            }
        })
        .collect();
    Bars {
        rows,
        ticks: round_ticks(0.0, most, |at| format!("{}", (at * 1e6).round() / 1e6)),
        range: [0.0, most * 1.02],
        legend: Vec::new(),
    }
    .svg()
}

fn loss(methods: &[MethodFigures]) -> Option<String> {
    let curves: Vec<_> = methods
        .iter()
        .map(|figures| (figures.label, &figures.curve))
        .collect();
    curves::svg(&curves)
}

fn quality_title(report: &Report, metric: Metric) -> String {
    let mut name = metric.label().to_owned();
    name[..1].make_ascii_uppercase();
    let over = match metric.is_score() {
        true => "95 % bootstrap interval over examples, mean of seeds".to_owned(),
        false if report.seeds.len() > 1 => format!("95 % t interval over {} seeds", report.seeds.len()),
        false => "one seed, so no interval".to_owned(),
    };
    format!("{name} ({over})")
}

fn quality(methods: &[MethodFigures], metric: Metric) -> Option<String> {
    let found: Vec<_> = methods
        .iter()
        .filter_map(|figures| Some((figures, figures.measured.get(&metric)?)))
        .collect();
    let most = match metric.is_score() {
        true => 1.0,
        // An interval of two seeds may be far wider than all that there is to see.
        false => {
            found
                .iter()
                .map(|(_, figure)| figure.estimate.mean)
                .fold(0.0, f64::max)
                * 1.4
        }
    };
    let text = |value: f64| match metric.is_score() {
        true => percent(value),
        false => digits(value),
    };
    let rows = found
        .iter()
        .enumerate()
        .map(|(index, (figures, figure))| Row {
            name: figures.label.to_owned(),
            text: text(figure.estimate.mean),
            parts: vec![(figure.estimate.mean, SERIES[index % SERIES.len()])],
            interval: figure.over_examples.or(figure.estimate.interval),
        })
        .collect();
    let tick = |at: f64| match metric.is_score() {
        true => format!("{:.0} %", at * 100.0),
        false => format!("{}", (at * 1e6).round() / 1e6),
    };
    Bars {
        rows,
        ticks: round_ticks(0.0, most, tick),
        range: [0.0, most],
        legend: Vec::new(),
    }
    .svg()
}

fn larger(report: &Report) -> Option<String> {
    let models = &report.larger_models;
    let most = models.iter().map(|row| row.peak_device_bytes.total).max()? as f64;
    let rows = models
        .iter()
        .map(|row| Row {
            name: format!("{}, {}", row.shape, row.label),
            text: bytes(row.peak_device_bytes.total),
            parts: by_kind(&row.peak_device_bytes),
            interval: None,
        })
        .collect();
    let card = |gib: &u64| Tick {
        at: *gib as f64 * GIB,
        text: format!("{gib} GiB"),
    };
    let ticks = CARDS.iter().map(card).filter(|tick| tick.at <= most * 1.02);
    Bars {
        rows,
        ticks: ticks.collect(),
        range: [0.0, most * 1.02],
        legend: kinds(),
    }
    .svg()
}
