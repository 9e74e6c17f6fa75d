//! The report's tables as CSV.

use csv::Writer;

use super::Report;
use crate::TrainError;
use crate::compare::analysis::timed;
use crate::compare::files::Finished;
use crate::compare::statistics::Spread;
use crate::run::PeakBytes;

const KINDS: [&str; 6] = [
    "weights",
    "adapter",
    "gradients",
    "optimizer",
    "activations",
    "scratch",
];

/// Each table with its name.
pub fn tables(report: &Report, finished: &[Finished]) -> Result<Vec<(&'static str, String)>, TrainError> {
    Ok(vec![
        ("methods", methods(report)?),
        ("runs", runs(report)?),
        ("steps", steps(finished)?),
        ("larger_models", larger_models(report)?),
        ("published", published(report)?),
    ])
}

type Table = Result<String, TrainError>;

fn table(header: &[impl AsRef<[u8]>], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let wrong =
        |error: &dyn std::fmt::Display| TrainError::Compare(format!("a table could not be made: {error}"));
    let mut writer = Writer::from_writer(Vec::new());
    writer.write_record(header).map_err(|error| wrong(&error))?;
    for row in rows {
        writer.write_record(&row).map_err(|error| wrong(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| wrong(&error))?;
    String::from_utf8(bytes).map_err(|error| wrong(&error))
}

/// Empty where there is nothing.
fn cell<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

fn kinds(peak: &PeakBytes) -> impl Iterator<Item = String> {
    let of = |kind: &&str| cell(peak.by_kind.get(*kind));
    KINDS.iter().map(of).collect::<Vec<_>>().into_iter()
}

fn methods(report: &Report) -> Table {
    let mut header: Vec<String> = ["method", "peak_bytes"].map(str::to_owned).to_vec();
    header.extend(KINDS.map(str::to_owned));
    header.extend(
        [
            "base_file_bytes",
            "adapter_file_bytes",
            "steps_per_second",
            "steps_per_second_q1",
            "steps_per_second_q3",
            "tokens_per_second",
            "tokens_per_second_q1",
            "tokens_per_second_q3",
            "step_time_ratio",
        ]
        .map(str::to_owned),
    );
    for metric in &report.analysis.metrics {
        let name = metric.name();
        header.extend([name.to_owned(), format!("{name}_low"), format!("{name}_high")]);
        if metric.is_score() {
            header.extend(["low", "high"].map(|end| format!("{name}_over_examples_{end}")));
        }
    }
    let spread = |spread: Option<Spread>| {
        let ends = spread.map(|spread| [spread.median, spread.low, spread.high]);
        (0..3).map(move |place| cell(ends.map(|ends| ends[place])))
    };
    let ends = |interval: Option<[f64; 2]>| (0..2).map(move |end| cell(interval.map(|ends| ends[end])));
    let rows = report.analysis.methods.iter().map(|figures| {
        let peak = &figures.peak_device_bytes;
        let mut row = vec![figures.method.to_string(), peak.total.to_string()];
        row.extend(kinds(peak));
        row.push(figures.base_file_bytes.to_string());
        row.push(figures.adapter_bytes.to_string());
        row.extend(spread(figures.steps_per_second));
        row.extend(spread(figures.tokens_per_second));
        row.push(cell(figures.step_time_ratio.map(|ratio| ratio.median)));
        for metric in &report.analysis.metrics {
            let figure = figures.measured.get(metric);
            row.push(cell(figures.mean(*metric)));
            row.extend(ends(figure.and_then(|figure| figure.estimate.interval)));
            if metric.is_score() {
                row.extend(ends(figure.and_then(|figure| figure.over_examples)));
            }
        }
        row
    });
    table(&header, rows)
}

fn runs(report: &Report) -> Table {
    let mut header: Vec<String> = ["method", "seed", "steps", "seconds", "final_loss", "eval_loss"]
        .map(str::to_owned)
        .to_vec();
    let scores = || report.analysis.metrics.iter().filter(|metric| metric.is_score());
    for metric in scores() {
        let name = metric.name();
        header.extend([name.to_owned(), format!("{name}_low"), format!("{name}_high")]);
    }
    header.push("peak_bytes".to_owned());
    let rows = report.runs.iter().map(|run| {
        let mut row = vec![
            run.method.to_string(),
            run.seed.to_string(),
            run.steps.to_string(),
            run.seconds.to_string(),
            cell(run.final_loss),
            cell(run.eval_loss),
        ];
        for metric in scores() {
            let score = run.evaluation.scores.get(metric);
            row.push(cell(score.map(|score| score.value)));
            row.extend((0..2).map(|end| cell(score.map(|score| score.interval[end]))));
        }
        row.push(run.peak_device_bytes.total.to_string());
        row
    });
    table(&header, rows)
}

/// Every training step of every run; `timed` is 0 in the warm-up.
fn steps(finished: &[Finished]) -> Table {
    let header = [
        "method",
        "seed",
        "step",
        "loss",
        "grad_norm",
        "lr",
        "trained_tokens",
        "tokens",
        "seconds",
        "timed",
    ];
    let rows = finished.iter().flat_map(|run| {
        let timed: std::collections::HashSet<usize> = timed(run).map(|step| step.step).collect();
        run.steps.iter().map(move |step| {
            vec![
                run.planned.method.to_string(),
                run.planned.seed.to_string(),
                step.step.to_string(),
                cell(step.loss),
                cell(step.grad_norm),
                step.lr.to_string(),
                step.tokens.to_string(),
                step.input_tokens.to_string(),
                step.seconds.to_string(),
                u8::from(timed.contains(&step.step)).to_string(),
            ]
        })
    });
    table(&header, rows)
}

fn larger_models(report: &Report) -> Table {
    let mut header = vec!["model", "parameters", "method", "planned_peak_bytes"];
    header.extend(KINDS);
    let rows = report.larger_models.iter().map(|row| {
        let peak = &row.peak_device_bytes;
        let mut cells = vec![
            row.shape.to_owned(),
            row.base_parameters.to_string(),
            row.method.to_string(),
            peak.total.to_string(),
        ];
        cells.extend(kinds(peak));
        cells
    });
    table(&header, rows)
}

fn published(report: &Report) -> Table {
    let header = ["model", "what", "published", "ours", "source", "version"];
    let rows = report.published.iter().map(|row| {
        let source = report.sources.get(row.source);
        vec![
            row.what.to_owned(),
            row.setting.to_owned(),
            row.published.to_owned(),
            row.ours.clone(),
            cell(source.map(|source| source.url)),
            cell(source.map(|source| source.version)),
        ]
    });
    table(&header, rows)
}
