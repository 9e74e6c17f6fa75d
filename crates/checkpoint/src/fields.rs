//! Typed reading of a JSON object's fields: absent and `null` are the same, everything wrong is collected.

use serde_json::{Map, Value};

use crate::{CheckpointError, Problem, Problems, Result};

/// No size in a config may exceed this: far above every model, far below what overflows a product of two.
const MAX_SIZE: u64 = 1 << 31;

/// Parses a file that must hold one JSON object.
pub(crate) fn parse_object(file: &str, bytes: &[u8]) -> Result<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(CheckpointError::malformed(
            file,
            "top level",
            "an object",
            kind(&other),
        )),
        Err(error) => Err(CheckpointError::json(file, &error)),
    }
}

/// What a value is, shortened where it is long.
pub(crate) fn kind(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(fields) => format!("an object of {} fields", fields.len()),
        Value::String(text) if text.len() > 60 => format!("a text of {} bytes", text.len()),
        other => other.to_string(),
    }
}

/// The fields of one object and what is wrong with them so far.
pub(crate) struct Fields<'a> {
    file: &'a str,
    /// Before every name in messages, for nested objects: `rope_scaling.`.
    prefix: &'a str,
    object: &'a Map<String, Value>,
    pub(crate) problems: Problems,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(file: &'a str, prefix: &'a str, object: &'a Map<String, Value>) -> Self {
        Self {
            file,
            prefix,
            object,
            problems: Problems::default(),
        }
    }

    /// The value of a field that is there and not null.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// Whether the field is written down, be it as null.
    pub(crate) fn is_written(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    pub(crate) fn problem(&mut self, name: &str, expected: impl Into<String>, found: impl Into<String>) {
        let place = format!("`{}{name}`", self.prefix);
        self.problems
            .0
            .push(Problem::new(self.file, place, expected, found));
    }

    /// A field read by `read`, which returns nothing for a value of the wrong kind.
    fn typed<T>(&mut self, name: &str, expected: &str, read: impl Fn(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.get(name)?;
        let result = read(value);
        if result.is_none() {
            self.problem(name, expected, kind(value));
        }
        result
    }

    /// A whole number from 1 to 2^31.
    pub(crate) fn size(&mut self, name: &str) -> Option<usize> {
        self.typed(name, "a whole number from 1 to 2^31", |value| {
            let size = value.as_u64().filter(|size| (1..=MAX_SIZE).contains(size))?;
            usize::try_from(size).ok()
        })
    }

    /// [`Fields::size`]; a problem where it is missing.
    pub(crate) fn required_size(&mut self, name: &str) -> usize {
        if self.get(name).is_none() {
            self.problem(name, "a whole number from 1 to 2^31", "nothing");
        }
        self.size(name).unwrap_or(1)
    }

    /// A list of sizes, 0 allowed; a problem where it is missing.
    pub(crate) fn sizes(&mut self, name: &str) -> Vec<usize> {
        let expected = "a list of whole numbers";
        if self.get(name).is_none() {
            self.problem(name, expected, "nothing");
        }
        let sizes = self.typed(name, expected, |value| {
            let items = value.as_array()?.iter();
            items.map(|item| usize::try_from(item.as_u64()?).ok()).collect()
        });
        sizes.unwrap_or_default()
    }

    /// [`Fields::number`]; a problem where it is missing.
    pub(crate) fn required_number(&mut self, name: &str) -> f64 {
        if self.get(name).is_none() {
            self.problem(name, "a number", "nothing");
        }
        self.number(name).unwrap_or(0.0)
    }

    pub(crate) fn number(&mut self, name: &str) -> Option<f64> {
        self.typed(name, "a number", Value::as_f64)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&mut self, name: &str) -> Option<&'a str> {
        self.typed(name, "a text", Value::as_str)
    }

    pub(crate) fn object(&mut self, name: &str) -> Option<&'a Map<String, Value>> {
        self.typed(name, "an object", Value::as_object)
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        self.typed(name, "a list of texts", |value| {
            let items = value.as_array()?.iter();
            items.map(|item| item.as_str().map(String::from)).collect()
        })
    }

    /// Token ids: one number or a list of numbers; empty where the field is absent.
    pub(crate) fn token_ids(&mut self, name: &str) -> Vec<u32> {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = self.typed(name, "a token id or a list of token ids", |value| match value {
            Value::Array(items) => items.iter().map(id).collect(),
            value => Some(vec![id(value)?]),
        });
        ids.unwrap_or_default()
    }

    /// One token id. Of a list, the first, as transformers takes it; -1 stands for none in old files.
    pub(crate) fn token_id(&mut self, name: &str) -> Option<u32> {
        if self.get(name).and_then(Value::as_i64) == Some(-1) {
            return None;
        }
        self.token_ids(name).first().copied()
    }
}
