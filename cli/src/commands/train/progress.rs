//! What a person sees while a run goes on: a bar on a terminal, a line now and then elsewhere.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use anylora_train::{Event, StepMetric};
use indicatif::{HumanBytes, HumanDuration, ProgressBar};

use crate::model::style;

/// Lines that a run prints where there is no terminal, about.
const LINES: usize = 20;

/// Shows a run's events, and stops it on Ctrl-C.
pub struct Progress {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
    total: usize,
    start: Instant,
    first: usize,
}

impl Progress {
    /// Takes over Ctrl-C: the first finishes the step, the second ends the program.
    pub fn new() -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\nfinishing the step; Ctrl-C again to stop at once");
        })?;
        let bar = ProgressBar::new(0);
        bar.set_style(style("{bar:24} {pos}/{len} {elapsed}<{eta} {msg}")?);
        Ok(Self {
            bar,
            stop,
            total: 0,
            start: Instant::now(),
            first: 0,
        })
    }

    /// Shows one event.
    pub fn observe(&mut self, event: &Event) -> ControlFlow<()> {
        match event {
            Event::Started {
                total_steps,
                done_steps,
                trainable,
            } => {
                (self.total, self.first, self.start) = (*total_steps, *done_steps, Instant::now());
                self.bar.set_length(*total_steps as u64);
                self.bar.set_position(*done_steps as u64);
                self.bar.reset_eta();
                self.say(&format!(
                    "{trainable} trainable parameters, {total_steps} steps{}",
                    if *done_steps > 0 {
                        format!(", {done_steps} done already")
                    } else {
                        String::new()
                    }
                ));
            }
            Event::Step { metric, live_bytes } => self.step(metric, *live_bytes),
            Event::Evaluating { done, total } => self.bar.set_message(format!("evaluating {done}/{total}")),
            Event::Evaluated { metric, best } => self.say(&format!(
                "step {}: held-out loss {:.4}{}",
                metric.step,
                metric.eval_loss,
                if *best { ", the best so far" } else { "" }
            )),
            Event::Skipped {
                step,
                in_a_row,
                loss_scale,
            } => {
                let scale =
                    loss_scale.map_or(String::new(), |scale| format!("; the loss scale is now {scale}"));
                self.say(&format!(
                    "step {step}: the loss or the gradients were not finite, the step was left out ({in_a_row} in a row){scale}"
                ));
            }
            Event::Saved { .. } => {}
            Event::StoppedEarly { step } => {
                self.say(&format!(
                    "step {step}: the held-out loss no longer falls, so the run ends"
                ));
            }
        }
        if self.stop.load(Ordering::SeqCst) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn step(&mut self, metric: &StepMetric, live_bytes: u64) {
        let speed = metric.input_tokens as f64 / metric.seconds.max(1e-9);
        let loss = metric
            .loss
            .map_or("not finite".to_owned(), |loss| format!("{loss:.4}"));
        let line = format!(
            "loss {loss} lr {:.2e} {speed:.0} tok/s {}",
            metric.lr,
            HumanBytes(live_bytes)
        );
        self.bar.set_position(metric.step as u64);
        if !self.bar.is_hidden() {
            self.bar.set_message(line);
        } else if metric.step.is_multiple_of((self.total / LINES).max(1)) || metric.step == self.total {
            let done = metric.step - self.first;
            let left = self
                .start
                .elapsed()
                .mul_f64((self.total - metric.step) as f64 / done.max(1) as f64);
            eprintln!(
                "step {}/{} {line}, {} left",
                metric.step,
                self.total,
                HumanDuration(left)
            );
        }
    }

    /// Shows how far something is that takes a while.
    pub fn count(&self, what: &str, done: usize, total: usize) {
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
        self.bar.set_message(what.to_owned());
        if done == total {
            self.say(&format!("{what}: {total} done"));
        }
    }

    /// Writes a line above the bar.
    pub fn say(&self, line: &str) {
        if self.bar.is_hidden() {
            eprintln!("{line}");
        } else {
            self.bar.println(line);
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
