//! Every kernel of `cuda/` on the host, launched as on a GPU: the engine's self-test against the CPU engine, in both
//! orders of a block's threads. A race between two barriers, or an index that is off, shows as a difference.

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

/// Runs the self-test on a device, and wants every case of it passed.
pub(crate) fn passes(device: &Cuda) {
    let mut failed = Vec::new();
    let mut count = 0;
    let mut each = |outcome: Outcome| {
        count += 1;
        if !outcome.passed() {
            println!(
                "{} {}, {}: {:?}",
                outcome.op, outcome.case, outcome.dtype, outcome.verdict
            );
            failed.push(format!("{outcome:?}"));
        }
    };
    pollster::block_on(self_test(device, &Cpu::new(None), &mut each));
    println!("{count} cases");
    assert!(
        failed.is_empty(),
        "{} of {count}:\n{}",
        failed.len(),
        failed.join("\n")
    );
    assert!(count > 300, "{count}");
}

#[test]
fn the_self_test_passes_with_threads_in_ascending_order() {
    passes(&emulated(false));
}

#[test]
fn the_self_test_passes_with_threads_in_descending_order() {
    passes(&emulated(true));
}
