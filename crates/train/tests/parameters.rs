//! Parameters in shared buffers behave as matrices of their own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use anylora_engine::{Side, ops};
use anylora_engine_burn::Cpu;
use anylora_train::{OptimizerStep, Parameters, State, Target};
use pollster::block_on;

fn target(module: &str, in_features: usize, out_features: usize, rank: usize) -> Target {
    Target {
        module: module.to_owned(),
        in_features,
        out_features,
        rank,
    }
}

#[test]
fn matrices_keep_to_their_places() {
    let cpu = Cpu::new(None);
    let targets = vec![
        target("a", 5, 3, 2),
        target("b", 70, 4, 3),
        target("c", 1, 129, 1),
    ];
    let fill = |target: &Target, side: Side| -> Vec<f32> {
        let len = match side {
            Side::A => target.rank * target.in_features,
            Side::B => target.rank * target.out_features,
        };
        (0..len)
            .map(|i| (target.in_features * 1000 + side as usize * 500 + i) as f32)
            .collect()
    };
    let parameters =
        Parameters::new(&cpu, targets.clone(), 2.0, |_, target, side| fill(target, side)).unwrap();
    assert_eq!(parameters.count(), 2 * 8 + 3 * 74 + 130);
    for (index, target) in targets.iter().enumerate() {
        let lora = parameters.lora(index, None).unwrap();
        assert_eq!(lora.a.shape(), [target.rank, target.in_features]);
        assert_eq!(block_on(lora.a.to_f32()).unwrap(), fill(target, Side::A));
        assert_eq!(block_on(lora.b.to_f32()).unwrap(), fill(target, Side::B));
        ops::fill(&lora.grad_b, index as f32 + 1.0).unwrap();
    }
    // 6 ones, 12 fours, 129 nines.
    let norm = block_on(parameters.sum_squares().unwrap().to_f32()).unwrap();
    assert_eq!(norm, [6.0 + 48.0 + 129.0 * 9.0]);

    let step = OptimizerStep {
        step: 1,
        lr: 0.5,
        lr_b: 0.25,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.0,
        grad_scale: 1.0,
    };
    parameters.step(&step).unwrap();
    for (index, (target, [a, b])) in targets
        .iter()
        .zip(block_on(parameters.download(State::Param)).unwrap())
        .enumerate()
    {
        assert_eq!(a, fill(target, Side::A), "{index}");
        for (found, before) in b.iter().zip(fill(target, Side::B)) {
            assert!((found - (before - 0.25)).abs() < 0.01, "{found} {before}");
        }
    }
    let m = block_on(parameters.download(State::M)).unwrap();
    parameters.upload(State::V, &m).unwrap();
    assert_eq!(block_on(parameters.download(State::V)).unwrap(), m);
    parameters.zero_grad().unwrap();
    assert_eq!(
        block_on(parameters.sum_squares().unwrap().to_f32()).unwrap(),
        [0.0]
    );
}
