//! `loss.svg`: the loss of each step, its moving mean, and the evaluations.

use plotters::prelude::*;

use crate::events::Metric;

/// Colours that hold on white and on dark pages.
const STEP: RGBColor = RGBColor(150, 180, 214);
const MEAN: RGBColor = RGBColor(31, 95, 166);
const EVAL: RGBColor = RGBColor(204, 88, 34);

/// The curve as SVG, or None where there is nothing to draw yet.
pub fn loss_svg(metrics: &[Metric]) -> Option<String> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    let mut evals: Vec<(f64, f64)> = Vec::new();
    for metric in metrics {
        match metric {
            Metric::Step(step) => {
                if let Some(loss) = step.loss.filter(|loss| loss.is_finite()) {
                    steps.push((step.step as f64, f64::from(loss)));
                }
            }
            Metric::Eval(eval) => {
                if eval.eval_loss.is_finite() {
                    evals.push((eval.step as f64, f64::from(eval.eval_loss)));
                }
            }
        }
    }
    let all = || steps.iter().chain(&evals);
    let last = all().map(|(step, _)| *step).reduce(f64::max)?;
    let (mut low, mut high) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, loss)| {
        (low.min(*loss), high.max(*loss))
    });
    let margin = ((high - low) * 0.06).max(1e-3);
    (low, high) = ((low - margin).max(0.0), high + margin);
    let mut svg = String::new();
    // Writing into a string can't fail, and the drawing has no other errors.
    draw(&mut svg, &steps, &evals, last, low..high).ok()?;
    Some(svg)
}

fn draw(
    svg: &mut String,
    steps: &[(f64, f64)],
    evals: &[(f64, f64)],
    last: f64,
    losses: std::ops::Range<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (900, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Training loss", ("sans-serif", 22))
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..last.max(1.0), losses)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("mean negative log-likelihood a token")
        .light_line_style(TRANSPARENT)
        // Steps are whole: a short run has no more labels than steps.
        .x_labels((last as usize + 1).min(11))
        .bold_line_style(RGBColor(226, 226, 226))
        .x_label_formatter(&|step| format!("{step:.0}"))
        .draw()?;
    chart
        .draw_series(LineSeries::new(steps.iter().copied(), STEP.stroke_width(1)))?
        .label("each step")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], STEP));
    chart
        .draw_series(LineSeries::new(moving_mean(steps), MEAN.stroke_width(2)))?
        .label("moving mean")
        .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], MEAN.stroke_width(2)));
    if !evals.is_empty() {
        chart
            .draw_series(LineSeries::new(evals.iter().copied(), EVAL.stroke_width(2)).point_size(4))?
            .label("held-out data")
            .legend(|(x, y)| Circle::new((x + 9, y), 4, EVAL.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(210, 210, 210))
        .draw()?;
    area.present()?;
    Ok(())
}

/// The mean over a window that grows with the run: a twentieth of it.
fn moving_mean(steps: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (steps.len() / 20).max(1);
    (0..steps.len())
        .map(|end| {
            let part = &steps[(end + 1).saturating_sub(window)..=end];
            let mean = part.iter().map(|(_, loss)| loss).sum::<f64>() / part.len() as f64;
            (steps[end].0, mean)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{EvalMetric, StepMetric};

    #[test]
    fn a_curve_has_its_points_and_nothing_has_none() {
        assert_eq!(loss_svg(&[]), None);
        let step = |step: usize, loss| {
            Metric::Step(StepMetric {
                step,
                loss,
                grad_norm: Some(1.0),
                lr: 1.0,
                tokens: 1,
                input_tokens: 1,
                seconds: 1.0,
                skipped: false,
            })
        };
        let metrics = [
            step(1, Some(3.0)),
            step(2, None),
            step(3, Some(2.0)),
            Metric::Eval(EvalMetric {
                step: 3,
                eval_loss: 2.5,
                eval_tokens: 1,
            }),
        ];
        let svg = loss_svg(&metrics).unwrap();
        assert!(
            svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
            "{svg}"
        );
        for part in ["each step", "moving mean", "held-out data"] {
            assert!(svg.contains(part), "{part}");
        }
    }
}
