//! Loss curves of all methods in one picture.

use plotters::prelude::*;

use super::bars::WIDTH;
use super::theme::{Colour, GRID, INK, MUTED, SERIES};
use crate::compare::convergence::Curve;

const HEIGHT: u32 = 330;
const TEXT: i32 = 17;

/// Labelled curves as SVG, or None where none has a point.
pub fn svg(curves: &[(&str, &Curve)]) -> Option<String> {
    let points: Vec<Vec<(f64, f64)>> = curves
        .iter()
        .map(|(_, curve)| {
            let steps = curve.steps.iter().map(|&step| step as f64);
            steps.zip(curve.losses.iter().copied()).collect()
        })
        .collect();
    let all = || points.iter().flatten();
    let last = all().map(|(step, _)| *step).reduce(f64::max)?;
    let low = all().map(|(_, loss)| *loss).fold(f64::INFINITY, f64::min);
    let high = all().map(|(_, loss)| *loss).fold(f64::NEG_INFINITY, f64::max);
    let margin = ((high - low) * 0.06).max(1e-3);
    let mut svg = String::new();
    let names: Vec<&str> = curves.iter().map(|(name, _)| *name).collect();
    // Writing into a string can't fail, and the drawing has no other errors.
    draw(
        &mut svg,
        &names,
        &points,
        last,
        (low - margin).max(0.0)..high + margin,
    )
    .ok()?;
    Some(svg)
}

fn draw(
    svg: &mut String,
    names: &[&str],
    points: &[Vec<(f64, f64)>],
    last: f64,
    losses: std::ops::Range<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (WIDTH as u32, HEIGHT)).into_drawing_area();
    let text = |colour: Colour| ("sans-serif", TEXT).into_font().color(&colour.rgb());
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(18)
        .x_label_area_size(44)
        .y_label_area_size(62)
        .build_cartesian_2d(0.0..last.max(1.0), losses)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("training loss, smoothed")
        .axis_desc_style(text(MUTED))
        .label_style(text(MUTED))
        .axis_style(MUTED.rgb())
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID.rgb())
        .x_labels((last as usize + 1).min(7))
        .y_labels(6)
        .x_label_formatter(&|step| format!("{step:.0}"))
        .draw()?;
    for (index, (name, points)) in names.iter().zip(points).enumerate() {
        let colour = SERIES[index % SERIES.len()].rgb();
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .label_font(text(INK))
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_line() {
        let curve = Curve {
            steps: vec![1, 2, 3],
            losses: vec![3.0, 2.0, 1.5],
        };
        let svg = svg(&[("one", &curve), ("two", &curve)]).unwrap();
        for part in ["one", "two", "#0072B2", "#D55E00"] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        assert_eq!(super::svg(&[("none", &Curve::default())]), None);
    }
}
