//! Typed access to a record's keys, with errors that say what was expected and found.

use serde_json::{Map, Value};

use super::{Format, Problem};

/// A record's object.
pub(super) struct Keys {
    pub(super) object: Map<String, Value>,
    pub(super) format: Format,
}

/// A value's kind in words.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl Keys {
    pub(super) fn wrong(&self, expected: String, found: &str, hint: &'static str) -> Problem {
        Problem::Record {
            format: self.format,
            expected,
            found: found.to_owned(),
            hint,
        }
    }

    /// Takes a key's value as `get` reads it.
    pub(super) fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        get: impl FnOnce(Value) -> Result<T, Value>,
    ) -> Result<T, Problem> {
        let expected = format!("{expected} in `{key}`");
        let Some(value) = self.object.remove(key) else {
            let keys: Vec<_> = self.object.keys().map(String::as_str).collect();
            let found = match keys.is_empty() {
                true => "no keys".to_owned(),
                false => format!("only the keys {}", keys.join(", ")),
            };
            return Err(self.wrong(
                expected,
                &found,
                "all records of a file must have the same format",
            ));
        };
        get(value).map_err(|value| {
            self.wrong(
                expected,
                kind_of(&value),
                "all records of a file must have the same format",
            )
        })
    }

    pub(super) fn text(&mut self, key: &str) -> Result<String, Problem> {
        self.take(key, "a string", |value| match value {
            Value::String(text) => Ok(text),
            other => Err(other),
        })
    }

    /// A key that may be missing or null.
    pub(super) fn optional_text(&mut self, key: &str) -> Result<Option<String>, Problem> {
        match self.object.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.text(key).map(Some),
        }
    }

    /// A list of integers of type `T`.
    pub(super) fn integers<T: TryFrom<i64>>(&mut self, key: &str, expected: &str) -> Result<Vec<T>, Problem> {
        let list = self.take(key, expected, |value| match value {
            Value::Array(list) => Ok(list),
            other => Err(other),
        })?;
        let each = |value: &Value| {
            let integer = value.as_i64().and_then(|integer| T::try_from(integer).ok());
            integer.ok_or_else(|| {
                let hint = "write the ids that the model's own tokenizer gives";
                self.wrong(format!("{expected} in `{key}`"), &value.to_string(), hint)
            })
        };
        list.iter().map(each).collect()
    }
}
