//! linear, linear_backward on cooperative matrices, whose own operations are emulated: what lies where in the tiles,
//! their edges, the adapter's share, dropout, windows. In both sizes of the matrices.

use std::sync::LazyLock;

use anylora_engine::{Backend, DType, Linear, ops};
use anylora_engine_wgpu::Wgpu;
use anylora_tests::{Operand, Output, cases, read, rounded, same_bits, wgpu_with};
use proptest::prelude::*;

use super::linear_case::{Case, FP4, Format, NF4, NF4_DOUBLE, Rounded, backward, forward, packed};

const F16: Format = Format::Dense(DType::F16);

/// With matrices of 16 x 16, for every format.
static LARGE: LazyLock<Wgpu> = LazyLock::new(|| wgpu_with(|options| options.emulated_matrix = Some(16)));

/// With matrices of 8 x 8, for doubly quantized weights.
static SMALL: LazyLock<Wgpu> = LazyLock::new(|| wgpu_with(|options| options.emulated_matrix = Some(8)));

/// The devices that have the kernels for a weight.
fn emulated(format: Format) -> Vec<&'static Wgpu> {
    match format {
        Format::Packed { double: true, .. } => vec![&LARGE, &SMALL],
        _ => vec![&LARGE],
    }
}

/// Both directions; y in f32 where `case` is wide, dy always in f16.
fn on(gpu: &Wgpu, case: Case, roundings: usize) {
    let case = Case {
        rounded: Rounded::Weight,
        ..case
    };
    forward(gpu, DType::F16, case);
    backward(gpu, DType::F16, Case { wide: false, ..case }, roundings);
}

/// f16 rounds W, which shows in sums of one product.
#[test]
fn the_kernel_is_the_one_of_matrices() {
    let case = Case::new([16, 64, 16], NF4_DOUBLE);
    let mut one_hot = vec![0.0; 16 * 16];
    for i in 0..16 {
        one_hot[i * 16 + i] = 1.0;
    }
    for gpu in emulated(case.format) {
        let (weight, dense) = case.weight(gpu);
        let out = Output::new(gpu, &[16, 64], DType::F32);
        let op = Linear {
            x: &Operand::new([16, 16], DType::F16, one_hot.clone()).on(gpu),
            weight: &weight,
            bias: None,
            lora: None,
            y: &out.view,
        };
        gpu.linear(op).unwrap();
        let y = read(&out.view);
        let transposed = |values: &[f32]| -> Vec<f32> {
            (0..16)
                .flat_map(|m| (0..64).map(move |n| (m, n)))
                .map(|(m, n)| values[n * 16 + m])
                .collect()
        };
        assert_eq!(y, transposed(&rounded(DType::F16, &dense.values)));
        assert_ne!(y, transposed(&dense.values));
    }
}

/// Whole tiles, one more and one fewer, for every format.
#[test]
fn around_tile_edges() {
    let formats = [
        F16,
        NF4,
        NF4_DOUBLE,
        FP4,
        packed(anylora_quant::Codebook::Nf4, 4096, true),
    ];
    let shapes = [
        [64, 64, 64],
        [65, 60, 68],
        [63, 68, 128],
        [16, 132, 4],
        [33, 4, 100],
    ];
    for (i, shape) in shapes.into_iter().enumerate() {
        for (j, format) in formats.into_iter().enumerate() {
            let case = Case {
                bias: (i + j) % 2 == 0,
                rank: [16, 0, 3, 9][(i + j) % 4],
                dropout: [0.25, 0.0, 0.5][(i + j) % 3],
                wide: j % 2 == i % 2,
                ..Case::new(shape, format)
            };
            for gpu in emulated(format) {
                on(gpu, case, 1);
            }
        }
    }
}

#[test]
fn as_the_reference() {
    let shape = (16..140_usize, 1..40_usize, 1..40_usize);
    let format = prop_oneof![Just(F16), Just(NF4), Just(NF4_DOUBLE), Just(FP4)];
    let rank = prop_oneof![Just(0_usize), 1..65_usize];
    let dropout = prop_oneof![Just(0.0_f32), Just(0.3)];
    let any_case = (shape, format, rank, dropout, any::<[bool; 2]>()).prop_map(
        |((m, n, k), format, rank, dropout, [bias, wide])| Case {
            bias,
            rank,
            dropout,
            wide,
            ..Case::new([m, 4 * n, 4 * k], format)
        },
    );
    cases(10, any_case, |case| {
        for gpu in emulated(case.format) {
            on(gpu, case, 1);
        }
    });
}

/// Windows of rows of the activations, of W, or of both, in which the matrices' kernel still fits.
#[test]
fn above_the_binding_limit() {
    for (limit, shape, format, windows) in [
        (16_384, [70, 256, 120], F16, 4),
        (32_768, [40, 640, 120], NF4_DOUBLE, 2),
    ] {
        let gpu = wgpu_with(|options| {
            options.max_binding_bytes = Some(limit);
            options.emulated_matrix = Some(16);
        });
        let case = Case {
            bias: true,
            rank: 10,
            dropout: 0.5,
            ..Case::new(shape, format)
        };
        on(&gpu, case, windows);
    }
}

/// With bounds, loop and division checks in the kernel.
#[test]
fn checked() {
    let gpu = wgpu_with(|options| {
        options.checked = true;
        options.emulated_matrix = Some(16);
    });
    let case = Case {
        bias: true,
        rank: 9,
        dropout: 0.5,
        ..Case::new([20, 68, 36], NF4_DOUBLE)
    };
    on(&gpu, case, 1);
}

#[test]
fn twice_the_same_bits() {
    for gpu in emulated(NF4_DOUBLE) {
        let (weight, _) = Case::new([40, 72, 200], NF4_DOUBLE).weight(gpu);
        let x = Operand::random(2, [40, 200], DType::F16).on(gpu);
        let dy = Operand::random(3, [40, 72], DType::F16).on(gpu);
        same_bits("linear", || {
            let y = ops::linear(&x, &weight, None).unwrap();
            vec![y, ops::linear_backward(&dy, &weight).unwrap()]
        });
    }
}
