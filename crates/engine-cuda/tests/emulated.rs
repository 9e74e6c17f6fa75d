//! Every kernel of `cuda/` on the host: the engine's self-test against the CPU engine, in both orders of a block's
//! threads. A race between two barriers, or an index that is off, shows as a difference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use anylora_engine::self_test::{Outcome, self_test};
use anylora_engine_burn::Cpu;
use anylora_engine_cuda::{Cuda, OpenOptions};

fn emulated(descending: bool) -> Cuda {
    let options = OpenOptions {
        poison: true,
        ..OpenOptions::default()
    };
    Cuda::emulated(Path::new(env!("CARGO_TARGET_TMPDIR")), descending, options).unwrap()
}

fn run(descending: bool) {
    let mut failed = Vec::new();
    let mut count = 0;
    let mut each = |outcome: Outcome| {
        count += 1;
        if !outcome.passed() {
            failed.push(format!("{outcome:?}"));
        }
    };
    pollster::block_on(self_test(&emulated(descending), &Cpu::new(None), &mut each));
    println!("{count} cases");
    assert!(failed.is_empty(), "{} of {count}: {failed:#?}", failed.len());
    assert!(count > 200, "{count}");
}

#[test]
fn the_self_test_passes_with_threads_in_ascending_order() {
    run(false);
}

#[test]
fn the_self_test_passes_with_threads_in_descending_order() {
    run(true);
}
