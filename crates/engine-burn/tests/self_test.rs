//! The self-test: the CPU engine passes it against itself, and a device that computes nothing passes no case.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_engine::self_test::{Outcome, Verdict, self_test};
use anylora_engine::{Backend, Caps, Dry};
use anylora_engine_burn::Cpu;

fn outcomes<B: Backend>(device: &B) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    pollster::block_on(self_test(device, &Cpu::new(None), &mut |outcome| {
        outcomes.push(outcome)
    }));
    outcomes
}

#[test]
fn the_cpu_engine_agrees_with_itself() {
    let outcomes = outcomes(&Cpu::new(None));
    for outcome in &outcomes {
        assert!(outcome.passed(), "{outcome:?}");
        // The same code on the same values: no rounding differs.
        let Verdict::Compared { outputs, .. } = &outcome.verdict else {
            panic!("{outcome:?}");
        };
        assert!(!outputs.is_empty(), "{outcome:?}");
        assert!(outputs.iter().all(|output| output.error == 0.0), "{outcome:?}");
    }
    assert!(outcomes.len() > 100, "{}", outcomes.len());
}

#[test]
fn a_device_that_computes_nothing_passes_nothing() {
    for outcome in outcomes(&Dry::new(Caps::HOST, None)) {
        assert!(!outcome.passed(), "{outcome:?}");
    }
}
