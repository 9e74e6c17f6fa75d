//! How far an evaluation is: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar};

use crate::model::style;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(10);

/// Shows what is done and how long the rest takes.
pub struct Progress {
    bar: ProgressBar,
    total: usize,
    /// Done before this began.
    first: usize,
    start: Instant,
    said: Instant,
}

impl Progress {
    /// Of `total` examples, `done` already.
    pub fn new(total: usize, done: usize) -> Result<Self> {
        let bar = ProgressBar::new(total as u64);
        bar.set_style(style("evaluating {wide_bar} {pos}/{len} {elapsed}<{eta}")?);
        bar.set_position(done as u64);
        bar.reset_eta();
        if done > 0 {
            bar.suspend(|| eprintln!("{done} of {total} are done already"));
        }
        let start = Instant::now();
        Ok(Self {
            bar,
            total,
            first: done,
            start,
            said: start,
        })
    }

    /// `done` examples are done.
    pub fn set(&mut self, done: usize) {
        self.bar.set_position(done as u64);
        if !self.bar.is_hidden() || self.said.elapsed() < PAUSE || done <= self.first {
            return;
        }
        self.said = Instant::now();
        let share = (self.total - done.min(self.total)) as f64 / (done - self.first) as f64;
        let left = HumanDuration(self.start.elapsed().mul_f64(share));
        eprintln!("evaluating {done}/{}, {left} left", self.total);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
