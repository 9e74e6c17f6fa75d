//! From finished runs to the figures that are compared.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::convergence::{Curve, window};
use super::files::Finished;
use super::metric::Metric;
use super::statistics::{Estimate, Spread};
use crate::run::PeakBytes;
use crate::{Method, StepMetric, TrainError};

/// Steps that are left out of timings after a process began; a quarter of a run at most.
pub const WARM_UP: usize = 3;

/// What all seeds say of one metric.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// One value a seed.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The means over seeds of the ends of the bootstrap interval over examples, where the metric is a score.
    pub over_examples: Option<[f64; 2]>,
    /// Less the first method's with the same seed.
    pub difference: Option<Estimate>,
}

/// All runs of one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodFigures {
    /// The method.
    pub method: Method,
    /// Its name for people.
    pub label: &'static str,
    /// The most device memory in use at once, over all runs.
    pub peak_device_bytes: PeakBytes,
    /// Bytes of the base model's weights as a run holds them.
    pub base_bytes: u64,
    /// Bytes of the base model's weight files, kept on disk as a run holds them.
    pub base_file_bytes: u64,
    /// Bytes of the adapter's files.
    pub adapter_bytes: u64,
    /// Trained numbers.
    pub trainable_parameters: usize,
    /// Steps a second, warm-up left out; of all seeds.
    pub steps_per_second: Option<Spread>,
    /// Tokens a second, padding and warm-up left out; of all seeds.
    pub tokens_per_second: Option<Spread>,
    /// A step's seconds divided by those of the same step (the same batch) of the first method.
    pub step_time_ratio: Option<Spread>,
    /// What was measured, each under its name.
    #[serde(flatten)]
    pub measured: BTreeMap<Metric, Figure>,
    /// The smoothed training loss.
    pub curve: Curve,
}

impl MethodFigures {
    /// The mean over seeds of a metric.
    pub fn mean(&self, metric: Metric) -> Option<f64> {
        Some(self.measured.get(&metric)?.estimate.mean)
    }
}

/// When one method reaches the loss at which another ends.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// Who.
    pub method: Method,
    /// Whose final loss.
    pub other: Method,
    /// That loss: the end of the other's smoothed training loss.
    pub loss: f64,
    /// After how many steps; None where it doesn't get there.
    pub steps: Option<usize>,
}

/// Everything that follows from the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// What methods are judged by.
    pub metric: Metric,
    /// Everything that was measured of all runs.
    pub metrics: Vec<Metric>,
    /// Steps that the smoothed losses are means over.
    pub window: usize,
    /// One a method, in the order that was asked for.
    pub methods: Vec<MethodFigures>,
    /// For each pair, in both directions.
    pub reaches: Vec<Reach>,
}

/// Analyses finished runs of `methods`, each with the same seeds in the same order.
///
/// # Errors
/// [`TrainError::Compare`] where runs were not trained on the same batches.
pub fn analyse(methods: &[Method], runs: &[Finished]) -> Result<Analysis, TrainError> {
    let of = |method: Method| -> Vec<&Finished> {
        let mut found: Vec<_> = runs.iter().filter(|run| run.planned.method == method).collect();
        found.sort_by_key(|run| run.planned.seed);
        found
    };
    let Some(&first) = methods.first() else {
        return Err(TrainError::Compare("no method was run".to_owned()));
    };
    let baseline = of(first);
    let window = window(baseline.iter().map(|run| run.steps.len()).max().unwrap_or(0));
    let mut figures = Vec::new();
    for &method in methods {
        let runs = of(method);
        for (run, base) in runs.iter().zip(&baseline) {
            expect_same_batches(run, base)?;
        }
        figures.push(method_figures(method, &runs, &baseline, window));
    }
    let is_known = |metric: &Metric| runs.iter().all(|run| value(run, *metric, window).is_some());
    let main = Metric::MAIN.into_iter().find(is_known);
    let mut reaches = Vec::new();
    for one in &figures {
        for other in figures.iter().filter(|other| other.method != one.method) {
            if let Some(loss) = other.curve.last() {
                reaches.push(Reach {
                    method: one.method,
                    other: other.method,
                    loss,
                    steps: one.curve.reaches(loss),
                });
            }
        }
    }
    Ok(Analysis {
        metric: main.unwrap_or(Metric::TrainLoss),
        metrics: Metric::ALL.into_iter().filter(is_known).collect(),
        window,
        methods: figures,
        reaches,
    })
}

/// What a run says of a metric.
fn value(run: &Finished, metric: Metric, window: usize) -> Option<f64> {
    match metric {
        Metric::EvalLoss => run.summary.eval_loss.map(f64::from),
        Metric::TrainLoss => Curve::of(&[&run.steps], window).last(),
        score => Some(run.evaluation.scores.get(&score)?.value),
    }
}

/// What makes timings and losses comparable: step by step the same tokens.
fn expect_same_batches(run: &Finished, base: &Finished) -> Result<(), TrainError> {
    let tokens = |run: &Finished| -> Vec<(usize, usize)> {
        let steps = run.steps.iter();
        steps.map(|step| (step.input_tokens, step.tokens)).collect()
    };
    // Early stopping may have ended one of them before the other.
    let (a, b) = (tokens(run), tokens(base));
    match a.iter().zip(&b).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(place) => Err(TrainError::Compare(format!(
            "step {} of {} and of {} were trained on different batches: the data changed in between",
            place + 1,
            run.planned,
            base.planned
        ))),
    }
}

/// The steps of a run that are timed, by number.
pub(super) fn timed(run: &Finished) -> impl Iterator<Item = &StepMetric> {
    let warm_up = WARM_UP.min(run.steps.len() / 4);
    run.steps.iter().filter(move |metric| {
        let starts = &run.measured.starts;
        // `starts` counts steps that were done: the next one is number `start + 1`.
        !starts
            .iter()
            .any(|start| (start + 1..=start + warm_up).contains(&metric.step))
    })
}

fn method_figures(
    method: Method,
    runs: &[&Finished],
    baseline: &[&Finished],
    window: usize,
) -> MethodFigures {
    let all = |of: &dyn Fn(&StepMetric) -> f64| {
        let values = runs.iter().flat_map(|run| timed(run)).map(of).collect();
        Spread::of(values)
    };
    let most = |of: fn(&&Finished) -> u64| runs.iter().map(of).max().unwrap_or(0);
    let steps: Vec<&[StepMetric]> = runs.iter().map(|run| run.steps.as_slice()).collect();
    let measured = Metric::ALL
        .into_iter()
        .filter_map(|metric| Some((metric, figure(runs, baseline, metric, window)?)));
    let mut figures = MethodFigures {
        method,
        label: method.label(),
        peak_device_bytes: PeakBytes::default(),
        base_bytes: 0,
        base_file_bytes: most(|run| run.measured.base_file_bytes),
        adapter_bytes: most(|run| run.adapter_bytes),
        trainable_parameters: runs.first().map_or(0, |run| run.summary.trainable_parameters),
        steps_per_second: all(&|step| 1.0 / step.seconds.max(1e-9)),
        tokens_per_second: all(&|step| step.input_tokens as f64 / step.seconds.max(1e-9)),
        step_time_ratio: Spread::of(ratios(runs, baseline)),
        measured: measured.collect(),
        curve: Curve::of(&steps, window),
    };
    let peaks = runs.iter().map(|run| &run.measured.peak_device_bytes);
    if let Some(peak) = peaks.max_by_key(|peak| peak.total) {
        figures.base_bytes = peak.by_kind.get("weights").copied().unwrap_or(0);
        figures.peak_device_bytes = peak.clone();
    }
    figures
}

/// What runs say of a metric; None where none of them does.
fn figure(runs: &[&Finished], baseline: &[&Finished], metric: Metric, window: usize) -> Option<Figure> {
    let values = runs.iter().filter_map(|run| value(run, metric, window));
    let end = |end: usize| {
        let scores = runs.iter().filter_map(|run| run.evaluation.scores.get(&metric));
        Some(Estimate::of(scores.map(|score| score.interval[end]).collect())?.mean)
    };
    let pairs = runs.iter().zip(baseline);
    let differences =
        pairs.filter_map(|(run, base)| Some(value(run, metric, window)? - value(base, metric, window)?));
    Some(Figure {
        estimate: Estimate::of(values.collect())?,
        over_examples: end(0).zip(end(1)).map(|(low, high)| [low, high]),
        difference: Estimate::of(differences.collect()),
    })
}

/// Step times relative to the first method's, warm-up of either left out.
fn ratios(runs: &[&Finished], baseline: &[&Finished]) -> Vec<f64> {
    let mut ratios = Vec::new();
    for (run, base) in runs.iter().zip(baseline) {
        let others: HashMap<usize, f64> = timed(base).map(|step| (step.step, step.seconds)).collect();
        let of = |step: &StepMetric| Some(step.seconds / others.get(&step.step)?.max(1e-9));
        ratios.extend(timed(run).filter_map(of));
    }
    ratios
}
