//! Every kernel of `cuda/` on the host, launched as on a GPU: the engine's self-test against the CPU engine, in both
//! orders of a block's threads. A race between two barriers, or an index that is off, shows as a difference.

use std::path::Path;

use anylora_engine::ops::{self, AttentionInput};
use anylora_engine::self_test::{Outcome, self_test};
use anylora_engine::{DType, Mask, MemoryKind, Tensor};
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

/// A value of a key that is not a number comes out of each query that sees the key, in f32 and on tensor cores.
#[test]
fn not_a_number_comes_through_attention() {
    let gpu = emulated(false);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let (time, dim) = (5, 8);
        let tensor = |values: &[f32]| {
            let shape = [1, time, 1, dim];
            let wide = Tensor::from_f32(&gpu, &shape, MemoryKind::Activations, values).unwrap();
            ops::cast(&wide, dtype).unwrap()
        };
        let ones = vec![1.0; time * dim];
        let mut keys = ones.clone();
        keys[2 * dim] = f32::NAN;
        let (q, k, v) = (tensor(&ones), tensor(&keys), tensor(&ones));
        let input = AttentionInput {
            q: &q,
            k: &k,
            v: &v,
            segments: None,
            mask: Mask {
                causal: true,
                window: None,
            },
            scale: 0.3,
        };
        let (out, lse) = ops::attention(&input).unwrap();
        let out = ops::cast(&out, DType::F32).unwrap();
        let (out, lse) = pollster::block_on(async { (out.to_f32().await, lse.to_f32().await) });
        for (query, row) in out.unwrap().chunks(dim).enumerate() {
            assert!(
                row.iter().all(|value| value.is_nan() == (query >= 2)),
                "{dtype}: {query}: {row:?}"
            );
        }
        let expected: Vec<bool> = (0..time).map(|query| query >= 2).collect();
        let found: Vec<bool> = lse.unwrap().into_iter().map(f32::is_nan).collect();
        assert_eq!(found, expected, "{dtype}");
    }
}
