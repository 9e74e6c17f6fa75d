//! What commands answer instead of a result, and how it is printed:
//!
//! ```text
//! error: data/train.jsonl could not be read
//!   caused by: No such file or directory (os error 2)
//! hint: anylora check-data FILE
//! ```
//!
//! Any [`anyhow::Error`] is a failed run. [`Annotate::or_request`] makes it a wrong request, [`Annotate::hint`] adds
//! what the user can type next; both keep the message and its causes.

use std::fmt;

use anstyle::{AnsiColor, Style};
use anyhow::Result;

/// An error with an exit code or a hint of its own. It prints as the error that it holds.
struct Annotated {
    request: bool,
    hint: Option<String>,
    error: anyhow::Error,
}

impl fmt::Debug for Annotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for Annotated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Annotated {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Says more about an error than its message.
pub trait Annotate<T> {
    /// The request was wrong: exit code 2.
    fn or_request(self) -> Result<T>;

    /// One line that can be typed, or that says what to change.
    fn hint(self, hint: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> Annotate<T> for std::result::Result<T, E> {
    fn or_request(self) -> Result<T> {
        self.map_err(|error| annotate(error.into(), true, None))
    }

    fn hint(self, hint: impl Into<String>) -> Result<T> {
        self.map_err(|error| annotate(error.into(), false, Some(hint.into())))
    }
}

/// A wrong request.
pub fn request(message: impl Into<String>) -> anyhow::Error {
    annotate(anyhow::Error::msg(message.into()), true, None)
}

/// An error whose kind says whether the request was wrong, and what to do.
pub fn note(error: anyhow::Error, request: bool, hint: Option<String>) -> anyhow::Error {
    annotate(error, request, hint)
}

fn annotate(error: anyhow::Error, request: bool, hint: Option<String>) -> anyhow::Error {
    Annotated { request, hint, error }.into()
}

/// The notes on an error, outermost first.
fn notes(error: &anyhow::Error) -> impl Iterator<Item = &Annotated> {
    std::iter::successors(error.downcast_ref::<Annotated>(), |note| {
        note.error.downcast_ref::<Annotated>()
    })
}

/// 2 where the request was wrong, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if notes(error).any(|note| note.request) {
        2
    } else {
        1
    }
}

/// Prints the message, its causes and the outermost hint to stderr.
pub fn report(error: &anyhow::Error) {
    let red = AnsiColor::Red.on_default().bold();
    let cyan = AnsiColor::Cyan.on_default().bold();
    let line = |style: Style, name: &str, text: &str| anstream::eprintln!("{style}{name}:{style:#} {text}");
    line(red, "error", &error.to_string());
    let mut said = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Many errors end with their cause.
        if !said.ends_with(&cause) {
            anstream::eprintln!("  caused by: {cause}");
        }
        said = cause;
    }
    if let Some(hint) = notes(error).find_map(|note| note.hint.as_deref()) {
        line(cyan, "hint", hint);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    fn missing() -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    #[test]
    fn notes_survive_context_and_each_other() {
        let error = missing()
            .hint("first")
            .or_request()
            .context("outer")
            .hint("second");
        let error = error.unwrap_err();
        assert_eq!(exit_code(&error), 2);
        let hints: Vec<_> = notes(&error).filter_map(|note| note.hint.as_deref()).collect();
        assert_eq!(hints, ["second", "first"]);
        let chain: Vec<_> = error.chain().map(ToString::to_string).collect();
        assert_eq!(chain, ["outer", "entity not found"]);
    }

    #[test]
    fn an_error_without_notes_is_a_failed_run() {
        let error = missing().context("outer").unwrap_err();
        assert_eq!(exit_code(&error), 1);
        assert_eq!(exit_code(&missing().hint("only a hint").unwrap_err()), 1);
        assert_eq!(exit_code(&request("wrong")), 2);
    }
}
