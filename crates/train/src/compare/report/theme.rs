//! Colours of plots. They are drawn in the colours of a light page; each colour is also a class, which a style sheet
//! turns into its dark twin. Without a style sheet the light colours stay.

use plotters::style::RGBColor;

/// A colour, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    class: &'static str,
    light: (u8, u8, u8),
    dark: (u8, u8, u8),
}

const fn colour(class: &'static str, light: (u8, u8, u8), dark: (u8, u8, u8)) -> Colour {
    Colour { class, light, dark }
}

/// Text and axes.
pub const INK: Colour = colour("ink", (31, 41, 51), (226, 232, 240));
/// Labels of axes.
pub const MUTED: Colour = colour("muted", (91, 102, 117), (154, 165, 180));
/// Lines behind the figures.
pub const GRID: Colour = colour("grid", (221, 226, 232), (51, 61, 75));
/// Methods, and parts of a bar: told apart by all eyes (Okabe and Ito, "Color universal design", 2008).
pub const SERIES: [Colour; 6] = [
    colour("s0", (0, 114, 178), (86, 180, 233)),
    colour("s1", (213, 94, 0), (255, 146, 76)),
    colour("s2", (0, 138, 103), (61, 204, 163)),
    colour("s3", (166, 84, 136), (222, 152, 197)),
    colour("s4", (181, 137, 0), (240, 208, 96)),
    colour("s5", (125, 135, 148), (140, 151, 166)),
];

const ALL: [Colour; 9] = [
    INK, MUTED, GRID, SERIES[0], SERIES[1], SERIES[2], SERIES[3], SERIES[4], SERIES[5],
];

impl Colour {
    /// As it is drawn.
    pub const fn rgb(self) -> RGBColor {
        let (r, g, b) = self.light;
        RGBColor(r, g, b)
    }
}

fn hex((r, g, b): (u8, u8, u8)) -> String {
    format!("#{r:02X}{g:02X}{b:02X}")
}

/// Adds to each element the class of its colour, and lets the picture be scaled.
pub fn classed(svg: &str) -> String {
    let mut svg = svg.to_owned();
    for colour in ALL {
        let (hex, class) = (hex(colour.light), colour.class);
        for paint in ["fill", "stroke"] {
            let plain = format!("{paint}=\"{hex}\"");
            svg = svg.replace(&plain, &format!("{plain} class=\"{paint}-{class}\""));
        }
    }
    svg
}

/// The rules of all classes: the light colours, and the dark ones where the reader's system is dark.
pub fn css() -> String {
    let rules = |dark: bool| -> String {
        let rule = |colour: &Colour| {
            let hex = hex(if dark { colour.dark } else { colour.light });
            let class = colour.class;
            format!(".fill-{class}{{fill:{hex}}}.stroke-{class}{{stroke:{hex}}}")
        };
        ALL.iter().map(rule).collect()
    };
    format!(
        "{}@media screen and (prefers-color-scheme:dark){{{}}}",
        rules(false),
        rules(true)
    )
}

/// A picture that stands alone: with its style sheet inside.
pub fn standalone(svg: &str) -> String {
    let style = format!("<style>{}</style>\n", css());
    match svg.find('>') {
        Some(end) => format!("{}\n{style}{}", &svg[..=end], &svg[end + 1..]),
        None => svg.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_once() {
        let svg = "<svg width=\"9\">\n<rect fill=\"#0072B2\" stroke=\"none\"/>\n</svg>";
        let classed = classed(svg);
        assert!(
            classed.contains("fill=\"#0072B2\" class=\"fill-s0\" stroke=\"none\""),
            "{classed}"
        );
        let alone = standalone(&classed);
        assert_eq!(alone.matches("<style>").count(), 1);
        assert!(alone.starts_with("<svg width=\"9\">\n<style>"), "{alone}");
        let css = css();
        assert!(css.contains(".fill-s0{fill:#0072B2}") && css.contains(".fill-s0{fill:#56B4E9}"));
        for (place, colour) in ALL.iter().enumerate() {
            assert!(ALL[..place].iter().all(|other| other.light != colour.light));
        }
    }
}
