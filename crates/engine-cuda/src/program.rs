//! The sources in `cuda/`, and their variants.

use std::fmt;

/// Which variants there are.
const VARIANTS: &str = include_str!("../../../cuda/variants");

/// What the sources include, by the name that they include it with.
pub(crate) const HEADERS: [(&str, &str); 9] = [
    (
        "shared/attention.cuh",
        include_str!("../../../cuda/shared/attention.cuh"),
    ),
    (
        "shared/attention_mma.cuh",
        include_str!("../../../cuda/shared/attention_mma.cuh"),
    ),
    (
        "shared/attention_tile.cuh",
        include_str!("../../../cuda/shared/attention_tile.cuh"),
    ),
    ("shared/mma.cuh", include_str!("../../../cuda/shared/mma.cuh")),
    (
        "shared/philox.cuh",
        include_str!("../../../cuda/shared/philox.cuh"),
    ),
    (
        "shared/product.cuh",
        include_str!("../../../cuda/shared/product.cuh"),
    ),
    (
        "shared/reduce.cuh",
        include_str!("../../../cuda/shared/reduce.cuh"),
    ),
    ("shared/types.cuh", include_str!("../../../cuda/shared/types.cuh")),
    (
        "shared/weight.cuh",
        include_str!("../../../cuda/shared/weight.cuh"),
    ),
];

macro_rules! sources {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!("../../../cuda/", $name, ".cu")))),*]
    };
}

/// The kernels' files, without `.cu`.
const SOURCES: &[(&str, &str)] = sources![
    "adamw",
    "attention",
    "attention_backward",
    "attention_decode",
    "attention_delta",
    "attention_mma",
    "attention_mma_backward",
    "cache_append",
    "cast",
    "cross_entropy",
    "elementwise",
    "embedding",
    "fill",
    "linear",
    "linear_few",
    "linear_mma",
    "lora",
    "reduce",
    "rms_norm",
    "rope",
    "swiglu",
];

/// A file of kernels with its defines.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Program {
    /// The file in `cuda/`, without `.cu`.
    pub file: &'static str,
    /// Names and values, in the order of `cuda/variants`.
    pub defines: Vec<(&'static str, &'static str)>,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file)?;
        self.defines
            .iter()
            .try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

impl Program {
    /// Every variant that the engine launches.
    pub fn all() -> Vec<Self> {
        let lines = VARIANTS
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut all: Vec<Self> = Vec::new();
        for line in lines {
            match line.as_slice() {
                ["kernel", file, defines @ ..] => all.extend(variants(file, defines)),
                ["skip", file, values @ ..] => all.retain(|program| {
                    let has =
                        |value: &&str| program.defines.iter().any(|(n, v)| *value == format!("{n}={v}"));
                    program.file != *file || !values.iter().all(has)
                }),
                _ => {}
            }
        }
        all
    }

    /// The source.
    pub(crate) fn source(&self) -> &'static str {
        SOURCES
            .iter()
            .find(|(name, _)| *name == self.file)
            .map_or("", |(_, source)| source)
    }

    /// The defines as the compiler takes them. NF4 says whether W has 4-bit codes, and ALIGNED is 0 where a file has no
    /// such variants.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = Vec::new();
        let mut aligned = false;
        for (name, value) in &self.defines {
            options.push(format!("-D{name}={value}"));
            aligned |= *name == "ALIGNED";
            if *name == "WEIGHT" {
                options.push(format!("-DNF4={}", u8::from(*value == "nf4")));
            }
        }
        if !aligned {
            options.push("-DALIGNED=0".to_owned());
        }
        options
    }
}

/// The variants of a line: all combinations of its values.
fn variants(file: &'static str, defines: &[&'static str]) -> Vec<Program> {
    let mut all = vec![Program {
        file,
        defines: Vec::new(),
    }];
    for (name, values) in defines.iter().filter_map(|define| define.split_once('=')) {
        let with = |program: &Program| {
            let program = program.clone();
            values.split('|').map(move |value| {
                let mut program = program.clone();
                program.defines.push((name, value));
                program
            })
        };
        all = all.iter().flat_map(with).collect();
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_variants_and_every_variant_a_source() {
        let all = Program::all();
        for (file, source) in SOURCES {
            assert!(all.iter().any(|program| program.file == *file), "{file}");
            let headers = source.lines().filter_map(|line| line.strip_prefix("#include \""));
            for header in headers {
                assert!(
                    HEADERS.iter().any(|(name, _)| header == format!("{name}\"")),
                    "{header}"
                );
            }
        }
        for program in &all {
            assert!(!program.source().is_empty(), "{program}");
        }
        assert!(all.len() > 100, "{}", all.len());
    }

    #[test]
    fn skipped_variants_are_not_there() {
        let all = Program::all();
        let names: Vec<String> = all.iter().map(Program::to_string).collect();
        assert!(names.contains(&"linear FORWARD=0 INPUT=f32 WEIGHT=nf4 ALIGNED=1".to_owned()));
        assert!(!names.contains(&"linear FORWARD=0 INPUT=bf16 WEIGHT=nf4 ALIGNED=0".to_owned()));
    }
}
