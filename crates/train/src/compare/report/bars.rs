//! Rows of bars with their names above them, which reads on a phone too: memory by kind, times, scores.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::theme::{Colour, GRID, INK, MUTED};

/// A picture's width; a phone shows it at two thirds.
pub const WIDTH: i32 = 560;
const LEFT: i32 = 10;
const RIGHT: i32 = 10;
const ROW: i32 = 46;
const BAR: i32 = 16;
const LEGEND_ROW: i32 = 22;
const AXIS: i32 = 34;
/// Of names and figures; plotters writes 1.24 of them as one.
const TEXT: i32 = 18;
const SMALL: i32 = 17;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

/// One row.
pub struct Row {
    /// What it is.
    pub name: String,
    /// Its figure, at the right.
    pub text: String,
    /// Parts of the bar, from the left.
    pub parts: Vec<(f64, Colour)>,
    /// An interval around the bar's end.
    pub interval: Option<[f64; 2]>,
}

/// A place of the axis that has a line.
pub struct Tick {
    /// Where.
    pub at: f64,
    /// Its label.
    pub text: String,
}

/// A whole picture.
pub struct Bars {
    /// Rows from the top.
    pub rows: Vec<Row>,
    /// Lines across.
    pub ticks: Vec<Tick>,
    /// The axis from its left to its right end.
    pub range: [f64; 2],
    /// What parts mean.
    pub legend: Vec<(String, Colour)>,
}

impl Bars {
    /// The picture as SVG; None where there are no rows.
    pub fn svg(&self) -> Option<String> {
        if self.rows.is_empty() {
            return None;
        }
        let legend_rows = self.legend_places().last().map_or(0, |(_, y)| y / LEGEND_ROW + 1);
        let top = legend_rows * LEGEND_ROW + 4;
        let height = top + self.rows.len() as i32 * ROW + AXIS;
        let mut svg = String::new();
        // Writing into a string can't fail, and the drawing has no other errors.
        self.draw(&mut svg, top, height).ok()?;
        Some(svg)
    }

    fn draw(&self, svg: &mut String, top: i32, height: i32) -> Drawn {
        let area = SVGBackend::with_string(svg, (WIDTH as u32, height as u32)).into_drawing_area();
        for ((name, colour), (x, y)) in self.legend.iter().zip(self.legend_places()) {
            area.draw(&Rectangle::new(
                [(x, y + 3), (x + 12, y + 15)],
                colour.rgb().filled(),
            ))?;
            write(&area, name, (x + 17, y + 9), SMALL, MUTED, HPos::Left)?;
        }
        let bottom = top + self.rows.len() as i32 * ROW;
        for tick in &self.ticks {
            let x = self.x(tick.at);
            area.draw(&PathElement::new([(x, top), (x, bottom + 4)], GRID.rgb()))?;
            let side = match x {
                x if x < 40 => HPos::Left,
                x if x > WIDTH - 40 => HPos::Right,
                _ => HPos::Center,
            };
            write(&area, &tick.text, (x, bottom + 16), SMALL, MUTED, side)?;
        }
        for (index, row) in self.rows.iter().enumerate() {
            self.draw_row(&area, row, top + index as i32 * ROW)?;
        }
        area.present()?;
        Ok(())
    }

    fn draw_row(&self, area: &Area<'_>, row: &Row, y: i32) -> Drawn {
        write(area, &row.name, (LEFT, y + 11), TEXT, INK, HPos::Left)?;
        write(area, &row.text, (WIDTH - RIGHT, y + 11), TEXT, INK, HPos::Right)?;
        let (top, middle) = (y + 22, y + 22 + BAR / 2);
        let mut end = self.range[0];
        for (value, colour) in &row.parts {
            let left = self.x(end);
            end = if end == self.range[0] { *value } else { end + value };
            let right = self.x(end).max(left + i32::from(*value > 0.0));
            area.draw(&Rectangle::new(
                [(left, top), (right, top + BAR)],
                colour.rgb().filled(),
            ))?;
        }
        if let Some([low, high]) = row.interval {
            let (low, high) = (self.x(low), self.x(high));
            let line = INK.rgb().stroke_width(2);
            area.draw(&PathElement::new([(low, middle), (high, middle)], line))?;
            for x in [low, high] {
                area.draw(&PathElement::new([(x, middle - 5), (x, middle + 5)], line))?;
            }
        }
        Ok(())
    }

    /// The place of a value; what is outside of the axis is at its end.
    fn x(&self, value: f64) -> i32 {
        let [from, to] = self.range;
        let share = ((value - from) / (to - from)).clamp(0.0, 1.0);
        LEFT + (share * f64::from(WIDTH - LEFT - RIGHT)).round() as i32
    }

    /// Where the legend's entries begin; they go on in the next line where one is full.
    fn legend_places(&self) -> Vec<(i32, i32)> {
        let (mut x, mut y) = (LEFT, 0);
        let mut places = Vec::new();
        for (name, _) in &self.legend {
            let width = 17 + name.chars().count() as i32 * 7 + 12;
            if x + width > WIDTH - RIGHT + 12 {
                (x, y) = (LEFT, y + LEGEND_ROW);
            }
            places.push((x, y));
            x += width;
        }
        places
    }
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), size: i32, colour: Colour, side: HPos) -> Drawn {
    let font = ("sans-serif", size).into_font();
    let style = font.color(&colour.rgb()).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text, at, style))?;
    Ok(())
}

/// Three to six round places from `from` to `to`.
pub fn round_ticks(from: f64, to: f64, text: impl Fn(f64) -> String) -> Vec<Tick> {
    let rough = (to - from) / 4.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = power
        * factors
            .into_iter()
            .find(|factor| factor * power >= rough)
            .unwrap_or(10.0);
    let first = (from / step).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    let tick = |count: i64| {
        let at = count as f64 * step;
        Tick { at, text: text(at) }
    };
    (first..=last).map(tick).collect()
}

#[cfg(test)]
mod tests {
    use super::super::theme::SERIES;
    use super::*;

    #[test]
    fn bars_end_at_their_values() {
        let bars = Bars {
            rows: vec![Row {
                name: "a".to_owned(),
                text: "5".to_owned(),
                parts: vec![(2.0, SERIES[0]), (3.0, SERIES[1])],
                interval: Some([4.0, 12.0]),
            }],
            ticks: round_ticks(0.0, 10.0, |at| format!("{at}")),
            range: [0.0, 10.0],
            legend: vec![("one".to_owned(), SERIES[0])],
        };
        let svg = bars.svg().unwrap();
        // 540 pixels for 10: the parts are 108 and 162 wide, from 10 on.
        assert!(svg.contains("x=\"10\"") && svg.contains("width=\"108\""), "{svg}");
        assert!(
            svg.contains("x=\"118\"") && svg.contains("width=\"162\""),
            "{svg}"
        );
        let ticks: Vec<f64> = bars.ticks.iter().map(|tick| tick.at).collect();
        assert_eq!(ticks, [0.0, 2.5, 5.0, 7.5, 10.0]);
        let none = Bars {
            rows: Vec::new(),
            ..bars
        };
        assert_eq!(none.svg(), None);
    }
}
