//! A command that judges an answer: it gets the answer in a file, and passes it by ending with 0.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use wait_timeout::ChildExt;

use crate::error::{Annotate, request};

/// What is put in the place of these.
const ANSWER: &str = "{answer}";
const RECORD: &str = "{record}";

/// A command with its arguments.
#[derive(Clone, Debug)]
pub struct Check {
    words: Vec<String>,
    timeout: Duration,
}

impl Check {
    /// Words as a shell separates them, with quotes; no shell runs. Without `{answer}` the file comes last.
    pub fn parse(command: &str, timeout: Duration) -> Result<Self> {
        let words = shlex::split(command).filter(|words| !words.is_empty());
        let mut words = words
            .ok_or_else(|| request(format!("--check-command: expected a command, found {command:?}")))
            .hint("--check-command 'python3 check.py {answer} {record}'")?;
        if !words.iter().any(|word| word.contains(ANSWER)) {
            words.push(ANSWER.to_owned());
        }
        Ok(Self { words, timeout })
    }

    /// Whether an answer passes. It, and the record that asked for it as JSON, are in files that exist until the
    /// command ends; what takes too long is stopped, and doesn't pass.
    pub fn passes(&self, answer: &str, record: &serde_json::Value) -> Result<bool> {
        let folder = tempfile::tempdir().context("a folder for the answer could not be made")?;
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text)
                .with_context(|| format!("{} could not be written", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        let answer = write("answer.txt", answer)?;
        let record = write("record.json", &record.to_string())?;
        let filled = |word: &String| {
            let place = |path: &Path| path.display().to_string();
            word.replace(ANSWER, &place(&answer))
                .replace(RECORD, &place(&record))
        };
        let mut child = Command::new(filled(&self.words[0]))
            .args(self.words[1..].iter().map(filled))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("--check-command: {} could not be started", self.words[0]))
            .or_request()?;
        let waited = child.wait_timeout(self.timeout);
        if let Some(status) = waited.context("--check-command could not be waited for")? {
            return Ok(status.success());
        }
        // It may have ended in between: then there is nothing to stop.
        child.kill().ok();
        child.wait().context("--check-command could not be stopped")?;
        Ok(false)
    }
}

#[cfg(all(test, unix))]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn passes(command: &str, answer: &str) -> bool {
        let check = Check::parse(command, Duration::from_millis(500)).unwrap();
        check.passes(answer, &serde_json::json!({"test": "x"})).unwrap()
    }

    #[test]
    fn the_exit_code_judges() {
        assert!(passes("grep -q right", "the right one"));
        assert!(!passes("grep -q right", "another"));
        assert!(passes(
            r#"sh -c 'grep -q "\"test\"" {record} && grep -q a {answer}'"#,
            "a"
        ));
        assert!(!passes("sleep 20", ""));
        assert!(Check::parse("", Duration::ZERO).is_err() && Check::parse("a 'b", Duration::ZERO).is_err());
        let missing = Check::parse("no-such-command-anywhere", Duration::ZERO).unwrap();
        let error = missing.passes("", &serde_json::Value::Null).unwrap_err();
        assert_eq!(crate::error::exit_code(&error), 2);
    }
}
