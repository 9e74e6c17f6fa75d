//! The Jinja environment that transformers gives to chat templates.

use jiff::{Timestamp, civil::DateTime, tz::Offset};
use minijinja::{Environment, Error, ErrorKind, syntax::SyntaxConfig};

use super::{TemplateError, json, marks};

/// Starts the detail of an error that `raise_exception` made, to tell it from minijinja's own.
const RAISED: &str = "raise_exception: ";

/// An environment with everything but the template.
pub(super) fn transformers() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_syntax(
        SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .unwrap_or_default(),
    );
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", json::tojson);
    environment.add_filter(marks::FILTER, marks::mark_block);
    environment.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("{RAISED}{message}"),
        ))
    });
    set_now(&mut environment, None);
    environment
}

/// Defines `strftime_now`, with the given time or that of the call.
pub(super) fn set_now(environment: &mut Environment<'static>, now: Option<DateTime>) {
    environment.add_function("strftime_now", move |format: &str| -> Result<String, Error> {
        let now = now.unwrap_or_else(|| Offset::UTC.to_datetime(Timestamp::now()));
        jiff::fmt::strtime::format(format, now).map_err(|error| {
            Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now({format:?}): {error}"),
            )
        })
    });
}

/// Tells a conversation that the template refuses from a template that fails.
pub(super) fn refusal_or_error(error: Error) -> TemplateError {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(inner) = cause {
        let detail = inner.downcast_ref::<Error>().and_then(Error::detail);
        if let Some(message) = detail.and_then(|detail| detail.strip_prefix(RAISED)) {
            return TemplateError::Refused(message.to_owned());
        }
        cause = inner.source();
    }
    TemplateError::Render(error)
}
