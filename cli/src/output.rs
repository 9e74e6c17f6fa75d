//! Data on stdout.

use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Whoever read stdout is gone.
#[derive(Debug, thiserror::Error)]
#[error("stdout is closed")]
struct Closed;

/// Whether a command ended because nobody reads its output, which is no failure.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.is::<Closed>()
}

/// Writes text to stdout at once, styled only where it is a terminal.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("stdout could not be written"),
    }
}

/// Writes one JSON object to stdout.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("the result could not be written as JSON")?;
    text.push('\n');
    print(&text)
}
