//! `--self-test`: runs the engine's self-test on a device, and prints it.

use std::fmt::Write;

use anyhow::{Result, bail};
use anylora_engine::self_test::{Outcome, OutputError, Verdict, self_test};
use anylora_engine::{Backend, DType, DeviceSpec};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::OpenOptions;
use indicatif::ProgressBar;
use serde::Serialize;

use super::list::as_text;
use crate::engine::{Job, with_device};

/// One device's results.
#[derive(Debug, Default, Serialize)]
pub struct Tested {
    #[serde(serialize_with = "as_text")]
    device: DeviceSpec,
    name: String,
    tier: String,
    passed: bool,
    /// Why it could not be opened.
    error: Option<String>,
    cases: Vec<Case>,
}

/// One case, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Case {
    op: &'static str,
    case: String,
    #[serde(serialize_with = "as_text")]
    dtype: DType,
    passed: bool,
    /// What the operation answered instead of numbers.
    error: Option<String>,
    /// Whether a second run gave the same bits.
    repeatable: bool,
    outputs: Vec<Output>,
}

#[derive(Debug, Serialize)]
struct Output {
    name: &'static str,
    /// Null where it isn't finite.
    error: f32,
    tolerance: f32,
    passed: bool,
}

/// The self-test as a job.
struct SelfTest {
    device: DeviceSpec,
    progress: ProgressBar,
}

impl Job for SelfTest {
    type Output = Tested;

    fn run<B: Backend>(self, backend: B) -> Result<Tested> {
        let mut cases = Vec::new();
        let mut each = |outcome: Outcome| {
            self.progress
                .set_message(format!("{} {}: {}", self.device, outcome.op, outcome.case));
            self.progress.tick();
            cases.push(case(outcome));
        };
        pollster::block_on(self_test(&backend, &Cpu::new(None), &mut each));
        self.progress.finish_and_clear();
        Ok(Tested {
            device: self.device,
            name: backend.info().name.clone(),
            tier: backend.caps().tier.to_string(),
            passed: cases.iter().all(|case| case.passed),
            error: None,
            cases,
        })
    }
}

/// Tests what `device` means. Where it can't be opened, that is an error, or with `go_on` a result.
pub fn test(device: DeviceSpec, go_on: bool) -> Result<Tested> {
    let job = SelfTest {
        device,
        progress: ProgressBar::new_spinner(),
    };
    // What an operation reads before it wrote it then shows as NaN.
    let options = OpenOptions {
        poison: true,
        ..OpenOptions::default()
    };
    match with_device(device, options, job) {
        Err(error) if go_on => Ok(Tested {
            device,
            error: Some(format!("{error:#}")),
            ..Tested::default()
        }),
        result => result,
    }
}

fn case(outcome: Outcome) -> Case {
    let passed = outcome.passed();
    let Outcome {
        op,
        case,
        dtype,
        verdict,
    } = outcome;
    let (error, repeatable, outputs) = match verdict {
        Verdict::Failed(error) => (Some(error.to_string()), false, Vec::new()),
        Verdict::Compared { outputs, repeatable } => (None, repeatable, outputs),
    };
    let output = |output: OutputError| Output {
        name: output.name,
        error: output.error,
        tolerance: output.tolerance,
        passed: output.is_within(),
    };
    Case {
        op,
        case,
        dtype,
        passed,
        error,
        repeatable,
        outputs: outputs.into_iter().map(output).collect(),
    }
}

/// How many of an operation's wrong cases the text shows; `--json` has all.
const SHOWN: usize = 4;

/// A line for each operation and type of activation, and under it a line for each of the first cases that are off.
pub fn text(tested: &Tested) -> String {
    let mut out = format!(
        "\nself-test of {}: {}, {}\n",
        tested.device, tested.name, tested.tier
    );
    if let Some(error) = &tested.error {
        return format!("\nself-test of {}: {error}\n", tested.device);
    }
    for (op, dtype, cases) in groups(&tested.cases) {
        let failed: Vec<&Case> = cases.iter().copied().filter(|case| !case.passed).collect();
        let word = if failed.is_empty() { "ok" } else { "FAIL" };
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "  {word:4}  {op:16} {dtype}  {:>2} cases  {}",
            cases.len(),
            worst(&cases)
        );
        for case in failed.iter().take(SHOWN) {
            let _ = writeln!(out, "        {}: {}", case.case, reason(case));
        }
        if failed.len() > SHOWN {
            let _ = writeln!(out, "        and {} more; --json lists all", failed.len() - SHOWN);
        }
    }
    out
}

/// The cases of each operation and type, in the order in which they ran.
fn groups(cases: &[Case]) -> Vec<(&'static str, DType, Vec<&Case>)> {
    let mut groups: Vec<(&'static str, DType, Vec<&Case>)> = Vec::new();
    for case in cases {
        let group = groups
            .iter_mut()
            .find(|(op, dtype, _)| (*op, *dtype) == (case.op, case.dtype));
        match group {
            Some((.., group)) => group.push(case),
            None => groups.push((case.op, case.dtype, vec![case])),
        }
    }
    groups
}

/// The worst error of each result.
fn worst(cases: &[&Case]) -> String {
    let mut worst: Vec<(&'static str, f32)> = Vec::new();
    for output in cases.iter().flat_map(|case| &case.outputs) {
        match worst.iter_mut().find(|(name, _)| *name == output.name) {
            Some((_, error)) => *error = error.max(output.error),
            None => worst.push((output.name, output.error)),
        }
    }
    let texts: Vec<String> = worst
        .iter()
        .map(|(name, error)| format!("{name} {error:.1e}"))
        .collect();
    texts.join(", ")
}

fn reason(case: &Case) -> String {
    if let Some(error) = &case.error {
        return error.clone();
    }
    let off = case.outputs.iter().filter(|output| !output.passed);
    let mut texts: Vec<String> = off
        .map(|output| {
            format!(
                "{} is off by {:.1e}, at most {:.1e}",
                output.name, output.error, output.tolerance
            )
        })
        .collect();
    if !case.repeatable {
        texts.push("a second run gave other bits".to_owned());
    }
    texts.join("; ")
}

/// The error of a self-test that found something.
pub fn failed(tested: &[Tested]) -> Result<()> {
    let failed = |tested: &Tested| {
        let off = tested.cases.iter().filter(|case| !case.passed).count();
        match &tested.error {
            Some(_) => Some(format!("{} could not be opened", tested.device)),
            None if off > 0 => Some(format!(
                "{off} of {} cases are off on {}",
                tested.cases.len(),
                tested.device
            )),
            None => None,
        }
    };
    let failures: Vec<String> = tested.iter().filter_map(failed).collect();
    if failures.is_empty() {
        return Ok(());
    }
    bail!("the self-test found wrong results: {}", failures.join("; "));
}
