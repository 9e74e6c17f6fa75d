//! The variants file: which variants each kernel has, and which device features a define needs.

use super::condition::is_word;
use super::{Problem, Report};

/// Device features beyond WebGPU's baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Needs {
    pub f16: bool,
    pub subgroups: bool,
    pub cooperative_matrix: bool,
}

/// One kernel with one value for each of its axes.
#[derive(Debug, PartialEq)]
pub struct Variant {
    pub kernel: String,
    /// In the order of the kernel line's axes.
    pub defines: Vec<(String, String)>,
    pub needs: Needs,
    /// Line of the variants file.
    pub line: u32,
}

impl Variant {
    pub fn define(&self, name: &str) -> Option<&str> {
        self.defines
            .iter()
            .find(|(define, _)| define == name)
            .map(|(_, value)| value.as_str())
    }

    /// `linear DIRECTION=forward WEIGHT=nf4`.
    pub fn label(&self) -> String {
        let defines = self
            .defines
            .iter()
            .map(|(name, value)| format!(" {name}={value}"));
        std::iter::once(self.kernel.clone()).chain(defines).collect()
    }

    fn matches(&self, axes: &[Axis]) -> bool {
        let matches =
            |(name, values): &Axis| self.define(name).is_some_and(|v| values.iter().any(|w| w == v));
        axes.iter().all(matches)
    }

    fn same(&self, other: &Self) -> bool {
        let covers = |a: &Self, b: &Self| {
            a.defines
                .iter()
                .all(|(name, value)| b.define(name) == Some(value))
        };
        self.kernel == other.kernel && covers(self, other) && covers(other, self)
    }
}

/// `NAME=value|value`.
type Axis = (String, Vec<String>);

struct Need {
    axes: Vec<Axis>,
    features: Needs,
}

struct Skip {
    line: u32,
    kernel: String,
    axes: Vec<Axis>,
}

/// Parses the file and expands it; `path` is only for messages.
pub fn parse(path: &str, text: &str) -> Result<Vec<Variant>, Report> {
    let mut report = Report::default();
    let (mut variants, mut needs, mut skips) = (Vec::new(), Vec::new(), Vec::new());
    for (index, text) in text.lines().enumerate() {
        let line = index as u32 + 1;
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        let mut words = text.split_whitespace();
        let result = match words.next() {
            None => continue,
            Some("needs") => need(words).map(|need| needs.push(need)),
            Some("kernel") => named(words).map(|(kernel, axes)| variants.extend(cross(kernel, &axes, line))),
            Some("skip") => named(words).map(|(kernel, axes)| skips.push(Skip { line, kernel, axes })),
            Some(word) => Err(format!("expected `kernel`, `needs` or `skip`, found `{word}`")),
        };
        if let Err(message) = result {
            report.0.push(Problem::new(path, Some(line), message));
        }
    }
    for Skip { line, kernel, axes } in skips {
        let before = variants.len();
        variants.retain(|variant: &Variant| variant.kernel != kernel || !variant.matches(&axes));
        if variants.len() == before {
            let message = format!("this leaves out no variant of `{kernel}`");
            report.0.push(Problem::new(path, Some(line), message));
        }
    }
    for (index, variant) in variants.iter().enumerate() {
        if let Some(first) = variants[..index].iter().find(|first| first.same(variant)) {
            let message = format!("`{}` is in line {} already", variant.label(), first.line);
            report.0.push(Problem::new(path, Some(variant.line), message));
        }
    }
    for variant in &mut variants {
        for Need { axes, features } in &needs {
            if variant.matches(axes) {
                variant.needs.f16 |= features.f16;
                variant.needs.subgroups |= features.subgroups;
                variant.needs.cooperative_matrix |= features.cooperative_matrix;
            }
        }
    }
    report.into_result(variants)
}

/// `ACT=f16 f16`: defines first, then the features.
fn need<'a>(words: impl Iterator<Item = &'a str>) -> Result<Need, String> {
    let (axes, features): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
    if axes.is_empty() || features.is_empty() {
        return Err("expected `needs NAME=value feature ...`".into());
    }
    let axes = axes.into_iter().map(axis).collect::<Result<_, _>>()?;
    let mut needs = Needs::default();
    for feature in features {
        match feature {
            "f16" => needs.f16 = true,
            "subgroups" => needs.subgroups = true,
            "cooperative_matrix" => needs.cooperative_matrix = true,
            _ => {
                return Err(format!(
                    "expected `f16`, `subgroups` or `cooperative_matrix`, found `{feature}`"
                ));
            }
        }
    }
    Ok(Need {
        axes,
        features: needs,
    })
}

fn named<'a>(mut words: impl Iterator<Item = &'a str>) -> Result<(String, Vec<Axis>), String> {
    let name = words
        .next()
        .filter(|name| is_word(name))
        .ok_or("expected a kernel's name")?;
    let mut axes: Vec<Axis> = Vec::new();
    for word in words {
        let axis = axis(word)?;
        if axes.iter().any(|(name, _)| *name == axis.0) {
            return Err(format!("`{}` is named twice", axis.0));
        }
        axes.push(axis);
    }
    Ok((name.to_owned(), axes))
}

fn axis(word: &str) -> Result<Axis, String> {
    let wrong = || format!("expected `NAME=value|value`, found `{word}`");
    let (name, values) = word.split_once('=').ok_or_else(wrong)?;
    let values: Vec<_> = values.split('|').map(str::to_owned).collect();
    if !is_word(name) || !values.iter().all(|value| is_word(value)) {
        return Err(wrong());
    }
    Ok((name.to_owned(), values))
}

/// The cross product of the axes' values; the last axis varies fastest.
fn cross(kernel: String, axes: &[Axis], line: u32) -> Vec<Variant> {
    let mut all: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for (name, values) in axes {
        let longer = |defines: &Vec<_>, value: &String| {
            let mut defines = defines.clone();
            defines.push((name.clone(), value.clone()));
            defines
        };
        all = all
            .iter()
            .flat_map(|defines| values.iter().map(move |value| longer(defines, value)))
            .collect();
    }
    let variant = |defines| Variant {
        kernel: kernel.clone(),
        defines,
        needs: Needs::default(),
        line,
    };
    all.into_iter().map(variant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_product_needs_and_skips() {
        let text = "
            # a comment
            needs ACT=f16  f16
            needs MMA=coop cooperative_matrix f16   # two of them
            kernel linear D=fwd|bwd ACT=f32|f16
            kernel linear D=fwd|bwd MMA=coop
            skip   linear MMA=coop D=bwd
            kernel fill";
        let variants = parse("shaders/variants", text).unwrap();
        let found: Vec<_> = variants
            .iter()
            .map(|v| (v.label(), v.needs.f16, v.needs.cooperative_matrix))
            .collect();
        let expected = [
            ("linear D=fwd ACT=f32", false, false),
            ("linear D=fwd ACT=f16", true, false),
            ("linear D=bwd ACT=f32", false, false),
            ("linear D=bwd ACT=f16", true, false),
            ("linear D=fwd MMA=coop", true, true),
            ("fill", false, false),
        ];
        assert_eq!(
            found,
            expected.map(|(label, f16, coop)| (label.to_owned(), f16, coop))
        );
        assert!(variants.iter().all(|variant| !variant.needs.subgroups));
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        let text = "needs f16\nneeds A=1 f61\nkernel\nkernel k A=\nkernel k A=1|1\nkernal k\n\
                    skip k A=2\nkernel m A=1 A=2\nkernel n B=1 C=2\nkernel n C=2 B=1\nkernel p-q";
        let report = parse("shaders/variants", text).unwrap_err().to_string();
        for expected in [
            "shaders/variants:1: expected `needs NAME=value feature ...`",
            "shaders/variants:2: expected `f16`, `subgroups` or `cooperative_matrix`, found `f61`",
            "shaders/variants:3: expected a kernel's name",
            "shaders/variants:4: expected `NAME=value|value`, found `A=`",
            "shaders/variants:5: `k A=1` is in line 5 already",
            "shaders/variants:6: expected `kernel`, `needs` or `skip`, found `kernal`",
            "shaders/variants:7: this leaves out no variant of `k`",
            "shaders/variants:8: `A` is named twice",
            "shaders/variants:10: `n C=2 B=1` is in line 9 already",
            "shaders/variants:11: expected a kernel's name",
        ] {
            assert!(report.contains(expected), "{expected}\n{report}");
        }
        assert!(report.ends_with("10 problem(s) in the shaders"), "{report}");
    }
}
