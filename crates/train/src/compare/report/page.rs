//! The report as a page and as Markdown: templates, and the numbers in them as people read them.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde};
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use super::plots::Plot;
use super::{Report, theme};
use crate::TrainError;
use crate::compare::metric::Metric;
use crate::compare::text;

const HTML: &str = include_str!("report.html");
const MARKDOWN: &str = include_str!("report.md");
const CSS: &str = include_str!("report.css");

/// The page, with style and pictures inside.
pub fn html(report: &Report, plots: &[Plot]) -> Result<String, TrainError> {
    let inline: Vec<Inline<'_>> = plots
        .iter()
        .map(|plot| Inline {
            name: plot.name,
            title: &plot.title,
            svg: scaled(&plot.svg),
        })
        .collect();
    let css = format!("{CSS}{}", theme::css());
    render("report.html", HTML, report, &inline, &css)
}

/// The same as Markdown, with the pictures as files.
pub fn markdown(report: &Report, plots: &[Plot]) -> Result<String, TrainError> {
    render("report.md", MARKDOWN, report, plots, "")
}

/// A picture in the page.
#[derive(Serialize)]
struct Inline<'a> {
    name: &'static str,
    title: &'a str,
    svg: String,
}

/// Without a size of its own, a picture is as wide as its place.
fn scaled(svg: &str) -> String {
    let Some((tag, rest)) = svg.split_once('>') else {
        return svg.to_owned();
    };
    let kept = tag
        .split(' ')
        .filter(|part| !part.starts_with("width=") && !part.starts_with("height="));
    let tag: Vec<&str> = kept.collect();
    format!("{} role=\"img\">{rest}", tag.join(" "))
}

fn render(
    name: &'static str,
    template: &'static str,
    report: &Report,
    plots: &[impl Serialize],
    css: &str,
) -> Result<String, TrainError> {
    let mut environment = Environment::new();
    // Wrong syntax settings show in the first test.
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build();
    environment.set_syntax(syntax.unwrap_or_default());
    environment.add_filter("bytes", text::bytes);
    environment.add_filter("percent", text::percent);
    environment.add_filter("signed", text::signed);
    environment.add_filter("digits", text::digits);
    environment.add_filter("thousands", text::thousands);
    environment.add_filter("steps", text::steps);
    environment.add_filter("fixed", fixed);
    environment.add_filter("score", score);
    environment.add_filter("label", label);
    let names = |which: fn(&Metric) -> bool| -> Vec<&str> {
        let metrics = report.analysis.metrics.iter();
        metrics
            .filter(|metric| which(metric))
            .map(|metric| metric.name())
            .collect()
    };
    let scores = names(|metric| metric.is_score());
    let losses = names(|metric| *metric == Metric::EvalLoss);
    let mut over_seeds = [scores.clone(), losses.clone()].concat();
    if over_seeds.is_empty() {
        over_seeds = names(|metric| *metric == Metric::TrainLoss);
    }
    let values = context! {
        r => Value::from(Serde(report)),
        plots => Value::from(Serde(plots)),
        css, scores, losses, over_seeds,
    };
    let rendered = environment
        .add_template(name, template)
        .and_then(|()| environment.get_template(name))
        .and_then(|template| template.render(values));
    rendered.map_err(|error| TrainError::Compare(format!("{name} could not be made: {error:#}")))
}

/// With so many digits after the point.
fn fixed(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

/// A figure of a metric, or a difference of two with `difference=true`.
fn score(value: f64, name: &str, options: Kwargs) -> Result<String, Error> {
    let difference = options.get::<Option<bool>>("difference")?.unwrap_or(false);
    options.assert_all_used()?;
    Ok(match (metric(name)?.is_score(), difference) {
        (true, false) => text::percent(value),
        (true, true) => format!("{:+.1} points", value * 100.0),
        (false, false) => format!("{value:.4}"),
        (false, true) => format!("{value:+.4}"),
    })
}

/// A metric's name for people.
fn label(name: &str) -> Result<&'static str, Error> {
    Ok(metric(name)?.label())
}

fn metric(name: &str) -> Result<Metric, Error> {
    let found = Metric::ALL.into_iter().find(|metric| metric.name() == name);
    found.ok_or_else(|| Error::new(ErrorKind::InvalidOperation, format!("{name} is no metric")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_lose_their_size_and_nothing_else() {
        let svg =
            "<svg width=\"560\" height=\"9\" viewBox=\"0 0 560 9\" xmlns=\"x\">\n<rect width=\"3\"/>\n</svg>";
        assert_eq!(
            scaled(svg),
            "<svg viewBox=\"0 0 560 9\" xmlns=\"x\" role=\"img\">\n<rect width=\"3\"/>\n</svg>"
        );
    }

    #[test]
    fn scores_have_their_metrics_digits() {
        let none = || Kwargs::from_iter(Vec::<(&str, Value)>::new());
        let difference = || Kwargs::from_iter([("difference", Value::from(true))]);
        assert_eq!(score(0.8475, "rougeL", none()).unwrap(), "84.8 %");
        assert_eq!(score(-0.0125, "accuracy", difference()).unwrap(), "-1.2 points");
        assert_eq!(score(0.5, "eval_loss", difference()).unwrap(), "+0.5000");
        assert!(score(0.5, "charm", none()).is_err());
        assert_eq!(label("exact_match").unwrap(), "exact match");
    }
}
