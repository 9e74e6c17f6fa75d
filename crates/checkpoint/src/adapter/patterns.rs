//! `rank_pattern` and `alpha_pattern`: values of modules whose name an expression matches.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::config::number;
use crate::fields::{Fields, kind};

/// Values by expression, in the order of the file: the first that matches a module counts.
///
/// As in PEFT (`utils/other.py:get_pattern_key`) an expression matches a module if it matches the whole name, or what
/// follows one of the name's dots.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    regex: Regex,
    value: f64,
}

/// More than any adapter's modules ask for; with [`MAX_COMPILED`] a bound on what a file can make this program hold.
const MAX_PATTERNS: usize = 1000;

/// Bytes of a compiled expression.
const MAX_COMPILED: usize = 1 << 17;

/// An expression that is none, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{pattern}` is no regular expression: {reason}")]
pub struct BadPattern {
    /// The text.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl PartialEq for Patterns {
    fn eq(&self, other: &Self) -> bool {
        self.entries().eq(other.entries())
    }
}

impl Patterns {
    /// Patterns from expressions and values.
    ///
    /// # Errors
    /// The first expression that is none.
    pub fn new(entries: impl IntoIterator<Item = (String, f64)>) -> std::result::Result<Self, BadPattern> {
        let mut patterns = Vec::new();
        for (text, value) in entries {
            let bad = |reason: String| BadPattern {
                pattern: text.clone(),
                reason,
            };
            if patterns.len() == MAX_PATTERNS {
                return Err(bad(format!("there are more than {MAX_PATTERNS} expressions")));
            }
            let regex = RegexBuilder::new(&format!(r"^(.*\.)?({text})$"))
                .size_limit(MAX_COMPILED)
                .build();
            // The lines before the last repeat the expression.
            let regex = regex.map_err(|error| {
                let message = error.to_string();
                bad(message.lines().last().unwrap_or_default().into())
            })?;
            patterns.push(Pattern { text, regex, value });
        }
        Ok(Self(patterns))
    }

    /// The value of the first expression that matches `module`.
    pub fn find(&self, module: &str) -> Option<f64> {
        let pattern = self.0.iter().find(|pattern| pattern.regex.is_match(module))?;
        Some(pattern.value)
    }

    /// The expressions and their values.
    pub fn entries(&self) -> impl Iterator<Item = (&str, f64)> {
        self.0
            .iter()
            .map(|pattern| (pattern.text.as_str(), pattern.value))
    }

    /// Takes in what a field of the file has; problems go to `f`.
    pub(super) fn read(f: &mut Fields<'_>, name: &str, entries: Ordered) -> Self {
        let mut patterns = Vec::new();
        for (text, value) in entries.0 {
            match value.as_f64() {
                Some(number) if number > 0.0 && number.is_finite() => patterns.push((text, number)),
                _ => f.problem(name, "numbers above 0 by expression", kind(&value)),
            }
        }
        Self::new(patterns).unwrap_or_else(|bad| {
            f.problem(name, "regular expressions", bad.to_string());
            Self::default()
        })
    }
}

impl Serialize for Patterns {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_map(self.entries().map(|(text, value)| (text, number(value))))
    }
}

/// An object's fields in the order of the file, which `serde_json` sorts; none where it is null.
#[derive(Default)]
pub(super) struct Ordered(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ordered;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers by expression")
            }

            fn visit_unit<E>(self) -> std::result::Result<Ordered, E> {
                Ok(Ordered::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Ordered, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Ordered(entries))
            }
        }
        deserializer.deserialize_any(Entries)
    }
}
