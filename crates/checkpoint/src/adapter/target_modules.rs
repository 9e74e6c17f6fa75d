//! Which modules have adapters: PEFT's `target_modules`.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Serialize, Serializer};

/// What stands for every linear module but the head.
pub(super) const ALL_LINEAR: &str = "all-linear";

/// Which modules have adapters.
///
/// As text it is what a person writes: a list with commas, `all-linear`, or else a regular expression. In PEFT's files
/// a text is never a list, which [`AdapterConfig::from_json`](super::AdapterConfig::from_json) knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// Modules with one of these names, or whose names end in `.` and one of these.
    List(Vec<String>),
    /// Modules whose whole name the expression matches: `model.layers.0.self_attn.q_proj`.
    Regex(String),
    /// All linear modules but the head.
    AllLinear,
}

impl FromStr for TargetModules {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        let is_name = |part: &str| {
            !part.is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
                && !part.contains("..")
        };
        Ok(if text == ALL_LINEAR {
            Self::AllLinear
        } else if text.split(',').map(str::trim).all(is_name) {
            Self::List(text.split(',').map(|part| part.trim().to_owned()).collect())
        } else {
            Self::Regex(text.to_owned())
        })
    }
}

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::List(names) => f.write_str(&names.join(",")),
            Self::Regex(expression) => f.write_str(expression),
            Self::AllLinear => f.write_str(ALL_LINEAR),
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::List(names) => names.serialize(serializer),
            Self::Regex(expression) => serializer.serialize_str(expression),
            Self::AllLinear => serializer.serialize_str(ALL_LINEAR),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListOrText;

        impl<'de> Visitor<'de> for ListOrText {
            type Value = TargetModules;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(
                    f,
                    "a list of module names, `{ALL_LINEAR}` or a regular expression"
                )
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TargetModules, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<TargetModules, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(names)).map(TargetModules::List)
            }
        }

        deserializer.deserialize_any(ListOrText)
    }
}

#[cfg(test)]
mod tests {
    use super::TargetModules::{self, AllLinear, List, Regex};

    fn list(names: &[&str]) -> TargetModules {
        List(names.iter().map(|&name| name.to_owned()).collect())
    }

    #[test]
    fn a_text_is_a_list_a_word_or_an_expression() {
        for (text, expected) in [
            ("q_proj", list(&["q_proj"])),
            ("q_proj, v_proj", list(&["q_proj", "v_proj"])),
            ("self_attn.q_proj", list(&["self_attn.q_proj"])),
            ("all-linear", AllLinear),
            (r".*\.[qv]_proj", Regex(r".*\.[qv]_proj".to_owned())),
            ("..q_proj", Regex("..q_proj".to_owned())),
        ] {
            let parsed: TargetModules = text.parse().unwrap();
            assert_eq!(parsed, expected, "{text}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed), "{text}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for modules in [
            list(&["q_proj", "v_proj"]),
            AllLinear,
            Regex(r".*\.q_proj".to_owned()),
        ] {
            let json = serde_json::to_string(&modules).unwrap();
            assert_eq!(
                serde_json::from_str::<TargetModules>(&json).unwrap(),
                modules,
                "{json}"
            );
        }
        let error = serde_json::from_str::<TargetModules>("3")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("expected a list of module names, `all-linear` or"),
            "{error}"
        );
    }
}
