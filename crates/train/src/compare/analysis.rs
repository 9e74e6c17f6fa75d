//! From finished runs to the figures that are compared.

use std::collections::HashMap;

use serde::Serialize;

use super::convergence::{Curve, window};
use super::files::Finished;
use super::statistics::{Estimate, Spread};
use crate::run::PeakBytes;
use crate::{Method, StepMetric, TrainError};

/// Steps that are left out of timings after a process began; a quarter of a run at most.
pub const WARM_UP: usize = 3;

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
    /// Bytes of the adapter's weights on disk.
    pub adapter_bytes: u64,
    /// Trained numbers.
    pub trainable_parameters: usize,
    /// Steps a second, warm-up left out; of all seeds.
    pub steps_per_second: Option<Spread>,
    /// Tokens a second, padding and warm-up left out; of all seeds.
    pub tokens_per_second: Option<Spread>,
    /// A step's seconds divided by those of the same step (the same batch) of the first method.
    pub step_time_ratio: Option<Spread>,
    /// The end of each seed's smoothed training loss.
    pub train_loss: Option<Estimate>,
    /// Of each seed's last evaluation.
    pub eval_loss: Option<Estimate>,
    /// Of each seed's adapter.
    pub accuracy: Option<Estimate>,
    /// The means over seeds of the ends of the accuracy's bootstrap interval over examples.
    pub accuracy_over_examples: Option<[f64; 2]>,
    /// Of each seed's adapter.
    pub macro_f1: Option<Estimate>,
    /// The main metric less the first method's with the same seed.
    pub difference: Option<Estimate>,
    /// The smoothed training loss.
    pub curve: Curve,
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

/// What methods are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Accuracy on held-out data: higher is better.
    Accuracy,
    /// Loss on held-out data: lower is better.
    EvalLoss,
    /// Loss at the end of training, where nothing was held out.
    TrainLoss,
}

impl Metric {
    /// Its name for people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Accuracy => "accuracy",
            Self::EvalLoss => "held-out loss",
            Self::TrainLoss => "training loss",
        }
    }

    /// A method's figure.
    pub fn of(self, figures: &MethodFigures) -> Option<&Estimate> {
        match self {
            Self::Accuracy => figures.accuracy.as_ref(),
            Self::EvalLoss => figures.eval_loss.as_ref(),
            Self::TrainLoss => figures.train_loss.as_ref(),
        }
    }

    /// How much better `a` is than `b`.
    pub fn gain(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Accuracy => a - b,
            Self::EvalLoss | Self::TrainLoss => b - a,
        }
    }
}

/// Everything that follows from the runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// What methods are judged by.
    pub metric: Metric,
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
    let metric = metric(runs);
    let window = window(baseline.iter().map(|run| run.steps.len()).max().unwrap_or(0));
    let mut figures = Vec::new();
    for &method in methods {
        let runs = of(method);
        for (run, base) in runs.iter().zip(&baseline) {
            expect_same_batches(run, base)?;
        }
        figures.push(method_figures(method, &runs, &baseline, metric, window));
    }
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
        metric,
        window,
        methods: figures,
        reaches,
    })
}

fn metric(runs: &[Finished]) -> Metric {
    if runs.iter().all(|run| run.evaluation.classification.is_some()) {
        Metric::Accuracy
    } else if runs.iter().all(|run| run.summary.eval_loss.is_some()) {
        Metric::EvalLoss
    } else {
        Metric::TrainLoss
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
    metric: Metric,
    window: usize,
) -> MethodFigures {
    let all = |of: &dyn Fn(&StepMetric) -> f64| {
        let values = runs.iter().flat_map(|run| timed(run)).map(of).collect();
        Spread::of(values)
    };
    let classified = || {
        runs.iter()
            .filter_map(|run| run.evaluation.classification.as_ref())
    };
    let steps: Vec<&[StepMetric]> = runs.iter().map(|run| run.steps.as_slice()).collect();
    let train_losses = steps
        .iter()
        .filter_map(|steps| Curve::of(&[steps], window).last());
    let mut figures = MethodFigures {
        method,
        label: method.label(),
        peak_device_bytes: PeakBytes::default(),
        base_bytes: 0,
        adapter_bytes: runs.iter().map(|run| run.adapter_bytes).max().unwrap_or(0),
        trainable_parameters: runs.first().map_or(0, |run| run.summary.trainable_parameters),
        steps_per_second: all(&|step| 1.0 / step.seconds.max(1e-9)),
        tokens_per_second: all(&|step| step.input_tokens as f64 / step.seconds.max(1e-9)),
        step_time_ratio: Spread::of(ratios(runs, baseline)),
        train_loss: Estimate::of(train_losses.collect()),
        eval_loss: Estimate::of(
            runs.iter()
                .filter_map(|run| run.summary.eval_loss.map(f64::from))
                .collect(),
        ),
        accuracy: Estimate::of(classified().map(|found| found.accuracy).collect()),
        accuracy_over_examples: None,
        macro_f1: Estimate::of(classified().map(|found| found.macro_f1).collect()),
        difference: None,
        curve: Curve::of(&steps, window),
    };
    let peaks = runs.iter().map(|run| &run.measured.peak_device_bytes);
    if let Some(peak) = peaks.max_by_key(|peak| peak.total) {
        figures.base_bytes = peak.by_kind.get("weights").copied().unwrap_or(0);
        figures.peak_device_bytes = peak.clone();
    }
    let mean = |end: usize| {
        Some(Estimate::of(classified().map(|found| found.accuracy_interval[end]).collect())?.mean)
    };
    figures.accuracy_over_examples = mean(0).zip(mean(1)).map(|(low, high)| [low, high]);
    figures.difference = difference(runs, baseline, metric, window);
    figures
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

fn difference(runs: &[&Finished], baseline: &[&Finished], metric: Metric, window: usize) -> Option<Estimate> {
    let value = |run: &Finished| match metric {
        Metric::Accuracy => run.evaluation.classification.as_ref().map(|found| found.accuracy),
        Metric::EvalLoss => run.summary.eval_loss.map(f64::from),
        Metric::TrainLoss => Curve::of(&[&run.steps], window).last(),
    };
    let pairs = runs.iter().zip(baseline);
    let differences = pairs.filter_map(|(run, base)| Some(value(run)? - value(base)?));
    Estimate::of(differences.collect())
}
