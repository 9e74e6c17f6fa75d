//! linear, linear_backward where a tensor is larger than a binding.

use anylora_engine::{DType, ops};
use anylora_tests::{Operand, low_binding};

use crate::linear_case::{Case, FORMATS, Format, backward, forward};

/// Weights, absmax, activations and adapters in several windows each.
#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(2048);
    for format in FORMATS {
        for [m, n, k] in [[20, 130, 96], [3, 100, 37], [70, 40, 33]] {
            let case = Case {
                bias: true,
                rank: 5,
                dropout: 0.5,
                ..Case::new([m, n, k], format)
            };
            for act in [DType::F32, DType::F16] {
                forward(&gpu, act, case);
                backward(&gpu, act, case, 20);
            }
        }
    }
}

#[test]
fn a_row_above_the_binding_limit_is_refused() {
    let gpu = low_binding(2048);
    let (weight, _) = Case::new([2, 2, 600], Format::Dense(DType::F32)).weight(&gpu);
    let x = Operand::random(1, [2, 600], DType::F32).on(&gpu);
    let error = ops::linear(&x, &weight, None).unwrap_err().to_string();
    assert!(error.contains("linear") && error.contains("2048"), "{error}");
}
