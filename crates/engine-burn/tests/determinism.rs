//! The same inputs give the same bits, with products large enough for all cores.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use anylora_engine::{Weight, ops};
use anylora_engine_burn::Cpu;
use anylora_quant::{BlockSize, Codebook, quantize};
use common::*;

#[test]
fn two_runs_give_the_same_bits() {
    let run = || {
        let cpu = Cpu::new(None);
        let [m, n, k] = [200, 210, 220];
        let weight = quantize(&values(70, n * k), Codebook::Nf4, BlockSize::default()).unwrap();
        let weight = Weight::quantized(&cpu, [n, k], &weight).unwrap();
        let x = float(&cpu, &[m, k], &values(71, m * k));
        let y = ops::linear(&x, &weight, None).unwrap();
        let dx = ops::linear_backward(&y, &weight).unwrap();
        let norm = ops::sum_squares(&[&dx]).unwrap();
        [y, dx, norm].map(|tensor| {
            read(&tensor)
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        })
    };
    let first = run();
    assert!(
        first
            .iter()
            .flatten()
            .all(|&bits| f32::from_bits(bits).is_finite())
    );
    assert_eq!(first, run());
}
