//! A command that judges an answer: it gets the answer in a file, and passes it by ending with 0.

use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
#[cfg(windows)]
use process_wrap::std::JobObject;
#[cfg(unix)]
use process_wrap::std::ProcessGroup;
use process_wrap::std::{ChildWrapper, CommandWrap};

use crate::error::{Annotate, request};

/// What is put in the place of these.
const ANSWER: &str = "{answer}";
const RECORD: &str = "{record}";

/// Between two looks at whether the command has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// A command with its arguments.
#[derive(Clone, Debug)]
pub struct Check {
    words: Vec<String>,
    timeout: Duration,
    running: Running,
}

/// The command at work with all that it starts, where it is at work.
#[derive(Clone, Debug, Default)]
struct Running(Arc<Mutex<Option<Box<dyn ChildWrapper>>>>);

impl Running {
    fn with<T>(&self, use_it: impl FnOnce(&mut Option<Box<dyn ChildWrapper>>) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the command and what it started.
    fn stop(&self) -> std::io::Result<()> {
        // It may have ended in between: then there is nothing to kill, and waiting says so.
        self.with(Option::take).map_or(Ok(()), |mut child| {
            child.start_kill().ok();
            child.wait().map(drop)
        })
    }
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
        let running = Running::default();
        Ok(Self {
            words,
            timeout,
            running,
        })
    }

    /// Ctrl-C on a terminal doesn't reach the command, which is in a process group of its own: it is passed on.
    pub fn stop_on_ctrl_c(&self) -> Result<()> {
        let running = self.running.clone();
        let stop = move || {
            running.stop().ok();
            std::process::exit(130);
        };
        ctrlc::set_handler(stop).context("Ctrl-C could not be caught")
    }

    /// Whether an answer passes. It, and the record that asked for it as JSON, are in files that exist until the
    /// command ends; what takes too long is stopped with all that it started, and doesn't pass.
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
        let mut command = CommandWrap::with_new(filled(&self.words[0]), |command| {
            command
                .args(self.words[1..].iter().map(filled))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
        });
        #[cfg(unix)]
        command.wrap(ProcessGroup::leader());
        #[cfg(windows)]
        command.wrap(JobObject);
        let child = command
            .spawn()
            .with_context(|| format!("--check-command: {} could not be started", self.words[0]))
            .or_request()?;
        self.running.with(|running| *running = Some(child));
        let started = Instant::now();
        while started.elapsed() < self.timeout {
            let waited = self
                .running
                .with(|running| running.as_mut().map(|child| child.try_wait()));
            // Nothing is left where Ctrl-C has stopped it.
            let Some(waited) = waited else {
                return Ok(false);
            };
            if let Some(status) = waited.context("--check-command could not be waited for")? {
                self.running.with(Option::take);
                return Ok(status.success());
            }
            std::thread::sleep(PAUSE);
        }
        self.running
            .stop()
            .context("--check-command could not be stopped")?;
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

    #[test]
    fn what_takes_too_long_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let late = folder.path().join("late");
        let command = format!("sh -c '(sleep 2; echo > {}) & sleep 20'", late.display());
        assert!(!passes(&command, ""));
        std::thread::sleep(Duration::from_secs(3));
        assert!(!late.exists());
    }
}
