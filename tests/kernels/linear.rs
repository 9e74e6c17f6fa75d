//! linear, linear_backward: every weight format, with and without the adapter's share.

use anylora_engine::{Backend, DType, ops};
use anylora_quant::Codebook;
use anylora_tests::{Operand, Scope, activations, cases, cpu, gpus, on_gpus, same_bits};
use proptest::prelude::*;

use super::linear_case::{Case, FORMATS, FP4, Format, NF4, NF4_DOUBLE, Rounded, backward, forward, packed};

/// Both directions, on the software device at every tier. Compiling with checks takes long: see [`checked`].
fn on_every_tier(case: Case) {
    #[cfg(not(feature = "emulator"))]
    if let Some((_checked, tiers)) = anylora_tests::tested_gpus().split_last() {
        tiers.iter().for_each(|gpu| in_every_type(gpu, |_| [case; 2]));
    }
    #[cfg(feature = "cuda")]
    if let Some(gpu) = anylora_tests::cuda() {
        in_every_type(gpu, |act| on_cuda(case, act));
    }
}

/// What CUDA's kernels round: tensor cores multiply activations of 16 bits with weights that fit their type.
#[cfg(feature = "cuda")]
fn on_cuda(case: Case, act: DType) -> [Case; 2] {
    let fits = act != DType::F32
        && match case.format {
            Format::Dense(dtype) => dtype == act,
            Format::Packed { .. } => true,
        };
    let rounded = |on_tensor_cores| Case {
        rounded: if on_tensor_cores {
            Rounded::All
        } else {
            Rounded::Nothing
        },
        ..case
    };
    [
        // Few rows have a kernel of their own, in f32.
        rounded(fits && case.m > 16),
        // f16 doesn't span the gradients that come in f32.
        rounded(fits && !(case.wide && act == DType::F16)),
    ]
}

/// Forward and backward's cases are by the activation's type.
fn in_every_type<B: Backend>(gpu: &B, by_type: impl Fn(DType) -> [Case; 2]) {
    for act in activations(gpu) {
        let _scope = Scope::new(gpu, act);
        let [ahead, back] = by_type(act);
        forward(gpu, act, ahead);
        backward(gpu, act, back, 1);
    }
}

fn any_case(m: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    let format = (0..7_usize, 5..13_u32).prop_map(|(format, block)| match format {
        6 => packed(Codebook::Nf4, 1 << block, true),
        format => FORMATS[format],
    });
    let rank = prop_oneof![Just(0_usize), 1..65_usize];
    let dropout = prop_oneof![Just(0.0_f32), Just(0.3)];
    let shape = (m, 1..150_usize, 1..150_usize);
    let flags = (any::<bool>(), any::<bool>());
    (shape, format, rank, dropout, flags).prop_map(|((m, n, k), format, rank, dropout, (bias, wide))| Case {
        m,
        n,
        k,
        format,
        bias,
        rank,
        dropout,
        wide,
        rounded: Rounded::Nothing,
    })
}

#[test]
fn many_rows_as_the_reference() {
    cases(10, any_case(16..140), on_every_tier);
}

#[test]
fn few_rows_as_the_reference() {
    cases(10, any_case(1..17), |case| {
        on_every_tier(case);
        forward(&cpu(), DType::F32, case);
        backward(&cpu(), DType::F32, case, 1);
    });
}

/// Whole tiles, one more and one fewer, for every format.
#[test]
fn around_tile_edges() {
    let shapes = [
        [64, 64, 64],
        [65, 63, 68],
        [63, 65, 129],
        [17, 128, 15],
        [128, 8, 96],
        [32, 96, 320],
    ];
    for (shape, format) in shapes.into_iter().zip(FORMATS) {
        let case = Case {
            bias: true,
            rank: 16,
            dropout: 0.25,
            ..Case::new(shape, format)
        };
        on_every_tier(case);
    }
}

/// Shapes that the software adapter's own kernel takes, around its tiles.
#[test]
fn whole_blocks() {
    let shapes = [
        [16, 64, 64],
        [17, 68, 128],
        [31, 60, 192],
        [48, 4, 64],
        [33, 100, 320],
        [20, 132, 128],
    ];
    for (shape, format) in shapes.into_iter().zip(FORMATS) {
        // Long blocks: FP4's of 32 are for the other kernels.
        let format = if format == FP4 {
            packed(Codebook::Fp4, 4096, true)
        } else {
            format
        };
        for (rank, dropout) in [(11, 0.3), (0, 0.0)] {
            let case = Case {
                bias: rank > 0,
                rank,
                dropout,
                wide: shape[0] % 2 == 1,
                ..Case::new(shape, format)
            };
            on_every_tier(case);
        }
    }
}

/// With bounds, loop and division checks in the kernels.
#[test]
fn checked() {
    let gpu = gpus().last().unwrap();
    for (shape, format) in [
        ([20, 70, 33], NF4_DOUBLE),
        ([17, 68, 64], NF4_DOUBLE),
        ([3, 9, 40], NF4),
    ] {
        let case = Case {
            bias: true,
            rank: 9,
            dropout: 0.5,
            ..Case::new(shape, format)
        };
        forward(gpu, DType::F32, case);
        backward(gpu, DType::F32, case, 1);
    }
}

/// One row and a few, with more columns than one round of invocations reads.
#[test]
fn one_token() {
    for format in FORMATS {
        for (m, k) in [(1, 1100), (3, 520), (15, 513)] {
            let case = Case {
                bias: m == 1,
                rank: 8,
                ..Case::new([m, 9, k], format)
            };
            on_every_tier(case);
        }
    }
}

/// K that is odd, and not a multiple of the block: rows begin within bytes and blocks.
#[test]
fn rows_that_begin_within_a_byte() {
    for double in [false, true] {
        for block in [32, 4096] {
            for k in [1, 31, 33] {
                let case = Case::new([18, 70, k], packed(Codebook::Nf4, block, double));
                on_every_tier(case);
                on_every_tier(Case { m: 2, ..case });
            }
        }
    }
}

/// The head of a large vocabulary: more rows of W than llvmpipe's loops would go round in one launch.
#[test]
fn backward_over_a_vocabulary() {
    let (_checked, tiers) = gpus().split_last().unwrap();
    for gpu in [tiers.first().unwrap(), tiers.last().unwrap()] {
        for k in [4, 64] {
            backward(
                gpu,
                DType::F32,
                Case::new([17, 70_000, k], Format::Dense(DType::F32)),
                5,
            );
        }
    }
}

#[test]
fn twice_the_same_bits() {
    on_gpus!(|gpu| {
        for m in [1, 40] {
            let (weight, _) = Case::new([m, 70, 200], NF4_DOUBLE).weight(gpu);
            let x = Operand::random(2, [m, 200], DType::F32).on(gpu);
            let dy = Operand::random(3, [m, 70], DType::F32).on(gpu);
            same_bits("linear", || {
                let y = ops::linear(&x, &weight, None).unwrap();
                vec![y, ops::linear_backward(&dy, &weight).unwrap()]
            });
        }
    });
}
