//! The `tojson` filter as transformers defines it: `json.dumps(value, ensure_ascii=False, indent=indent)`.

use std::io::{self, Write};

use minijinja::{Error, ErrorKind, Value, value::Kwargs};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};

/// Python's spacing on one line: `{"a": 1, "b": [2, 3]}`.
struct OneLine;

impl Formatter for OneLine {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// `value | tojson`, `value | tojson(indent=4)`. `ensure_ascii` and `sort_keys` are taken in their
/// default, false, only.
pub(super) fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    for name in ["ensure_ascii", "sort_keys"] {
        if options.get::<Option<bool>>(name)?.unwrap_or(false) {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("tojson({name}=true) is not supported"),
            ));
        }
    }
    options.assert_all_used()?;
    let spaces = " ".repeat(indent.unwrap_or(0));
    let mut json = Vec::new();
    let written = match indent {
        None => value.serialize(&mut Serializer::with_formatter(&mut json, OneLine)),
        Some(_) => {
            let formatter = PrettyFormatter::with_indent(spaces.as_bytes());
            value.serialize(&mut Serializer::with_formatter(&mut json, formatter))
        }
    };
    let failed = |error: String| Error::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| failed(error.to_string()))?;
    Ok(Value::from(
        String::from_utf8(json).map_err(|error| failed(error.to_string()))?,
    ))
}
