//! How an adapter starts, as PEFT's: A uniform within `1 / sqrt(K)` (`kaiming_uniform_` with `a = sqrt(5)`), B zero,
//! so that the first forward is the base model's.

use anylora_engine::{Side, philox4x32};

use crate::parameters::Target;

/// The values of a matrix of target number `index`, row-major. A function of seed, index and side only.
pub fn initial_values(seed: u64, index: usize, target: &Target, side: Side) -> Vec<f32> {
    if side == Side::B {
        return vec![0.0; target.out_features * target.rank];
    }
    let len = target.rank * target.in_features;
    let bound = 1.0 / (target.in_features as f32).sqrt();
    let key = [seed as u32, (seed >> 32) as u32];
    (0..len.div_ceil(4))
        .flat_map(|block| philox4x32([block as u32, index as u32, INITIAL, 0], key))
        // The upper 24 bits: every value is an f32 in 0.0..1.0.
        .map(|word| ((word >> 8) as f32 / (1 << 24) as f32 * 2.0 - 1.0) * bound)
        .take(len)
        .collect()
}

/// Sets this use of the generator apart from dropout's, whose third counter is a step.
const INITIAL: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_is_uniform_within_its_bound_and_differs_by_seed_and_target() {
        let target = Target {
            module: "m".to_owned(),
            in_features: 100,
            out_features: 7,
            rank: 81,
        };
        let a = initial_values(1, 0, &target, Side::A);
        assert_eq!(a.len(), 8100);
        assert!(a.iter().all(|value| value.abs() <= 0.1));
        let mean = a.iter().sum::<f32>() / 8100.0;
        let variance = a.iter().map(|value| value * value).sum::<f32>() / 8100.0;
        assert!(mean.abs() < 0.003, "{mean}");
        assert!((variance - 0.01 / 3.0).abs() < 2e-4, "{variance}");
        assert_ne!(a, initial_values(2, 0, &target, Side::A));
        assert_ne!(a, initial_values(1, 1, &target, Side::A));
        assert_eq!(initial_values(1, 0, &target, Side::B), [0.0; 567]);
    }
}
