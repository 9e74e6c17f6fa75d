//! linear, linear_backward: every weight format, with and without the adapter's share.

use anylora_engine::{
    Backend, DType, Dropout, Linear, LinearBackward, LoraTerm, LoraTermBackward, Weight, ops,
};
use anylora_engine_burn::reference::{self, Oracle};
use anylora_quant::{BlockSize, Codebook, quantize};
use anylora_tests::{
    Operand, Output, Scope, Tolerance, activations, cases, close, cpu, encode, gpus, on_gpus, same_bits,
};
use burn::tensor::Tensor as BurnTensor;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    Dense(DType),
    Packed {
        codebook: Codebook,
        block: usize,
        double: bool,
    },
}

pub(super) const NF4: Format = packed(Codebook::Nf4, 64, false);
pub(super) const NF4_DOUBLE: Format = packed(Codebook::Nf4, 64, true);
pub(super) const FP4: Format = packed(Codebook::Fp4, 32, true);

pub(super) const fn packed(codebook: Codebook, block: usize, double: bool) -> Format {
    Format::Packed {
        codebook,
        block,
        double,
    }
}

pub(super) const FORMATS: [Format; 6] = [
    Format::Dense(DType::F32),
    Format::Dense(DType::F16),
    Format::Dense(DType::BF16),
    NF4,
    NF4_DOUBLE,
    FP4,
];

#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) m: usize,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) format: Format,
    pub(super) bias: bool,
    pub(super) rank: usize,
    pub(super) dropout: f32,
    /// Forward's y and backward's dy are f32, whatever the activation is.
    pub(super) wide: bool,
    /// What the kernel rounds before it multiplies; its sums are in f32.
    pub(super) rounded: Rounded,
}

/// The operands that a kernel rounds to the activation's type, which all others are exact in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rounded {
    Nothing,
    /// W, on cooperative matrices.
    Weight,
    /// W and the adapter's two factors, on CUDA's tensor cores.
    All,
}

impl Case {
    pub(super) const fn new([m, n, k]: [usize; 3], format: Format) -> Self {
        Self {
            m,
            n,
            k,
            format,
            bias: false,
            rank: 0,
            dropout: 0.0,
            wide: false,
            rounded: Rounded::Nothing,
        }
    }

    fn wide(&self, act: DType) -> DType {
        if self.wide { DType::F32 } else { act }
    }

    /// `operand` for the reference: rounded where the kernel rounds as much as `least`.
    fn leaf(&self, operand: &Operand<2>, least: Rounded, act: DType) -> BurnTensor<Oracle, 2> {
        if self.rounded >= least {
            Operand::new(operand.shape, act, operand.values.clone()).leaf()
        } else {
            operand.leaf()
        }
    }

    /// The weight on the device, and its values.
    pub(super) fn weight<B: Backend>(&self, device: &B) -> (Weight<B>, Operand<2>) {
        let shape = [self.n, self.k];
        let values = Operand::random(1, shape, DType::F32);
        match self.format {
            Format::Dense(dtype) => {
                let values = Operand::new(shape, dtype, values.values);
                let weight = Weight::dense(device, shape, dtype, &encode(dtype, &values.values)).unwrap();
                (weight, values)
            }
            Format::Packed {
                codebook,
                block,
                double,
            } => {
                let block = BlockSize::new(block).unwrap();
                let mut packed = quantize(&values.values, codebook, block).unwrap();
                if double {
                    packed = packed.double_quantize().unwrap();
                }
                let values = Operand::new(shape, DType::F32, packed.dequantize());
                (Weight::quantized(device, shape, &packed).unwrap(), values)
            }
        }
    }

    /// xa and B, or dyb and A.
    fn adapter(&self, left: [usize; 2], right: [usize; 2]) -> Option<[Operand<2>; 2]> {
        let matrix = |(shape, seed)| Operand::random(seed, shape, DType::F32);
        (self.rank > 0).then(|| [(left, 4), (right, 5)].map(matrix))
    }
}

pub(super) fn forward<B: Backend>(device: &B, act: DType, case: Case) {
    let Case { m, n, k, rank, .. } = case;
    let (weight, dense) = case.weight(device);
    let x = Operand::random(2, [m, k], act);
    let bias = case.bias.then(|| Operand::random(3, [n], DType::F32));
    let adapter = case.adapter([m, rank], [n, rank]);

    let w = case.leaf(&dense, Rounded::Weight, act);
    let mut y = reference::linear(x.leaf(), w, bias.as_ref().map(Operand::leaf));
    if let Some(factors) = &adapter {
        let [xa, b] = factors
            .each_ref()
            .map(|factor| case.leaf(factor, Rounded::All, act));
        y = y + xa.matmul(b.transpose());
    }
    let expected = reference::to_vec(&y);

    let adapter = adapter.map(|[xa, b]| [xa.view_on(device), b.view_on(device)]);
    let bias = bias.map(|bias| bias.view_on(device));
    let out = Output::new(device, &[m, n], case.wide(act));
    let op = Linear {
        x: &x.view_on(device),
        weight: &weight,
        bias: bias.as_ref(),
        lora: adapter.as_ref().map(|[xa, b]| LoraTerm { xa, b }),
        y: &out.view,
    };
    device.linear(op).unwrap();
    let tolerance = Tolerance::of(case.wide(act)).terms(k + rank);
    close(&format!("y of {case:?}"), &out.view, &expected, tolerance);
    out.check_around();
}

/// The gradient in x, which is rounded `roundings` times.
pub(super) fn backward<B: Backend>(device: &B, act: DType, case: Case, roundings: usize) {
    let Case { m, n, k, rank, .. } = case;
    let (weight, dense) = case.weight(device);
    let dy = Operand::random(2, [m, n], case.wide(act));
    let adapter = case.adapter([m, rank], [rank, k]);
    let dropout = (case.dropout > 0.0).then_some(Dropout {
        p: case.dropout,
        seed: 0x1234_5678_9ABC_DEF0,
        step: 3,
        layer: 7,
    });

    let x = Operand::random(6, [m, k], DType::F32).leaf();
    let w = case.leaf(&dense, Rounded::Weight, act);
    let mut loss = (reference::linear(x.clone(), w, None) * case.leaf(&dy, Rounded::All, act)).sum();
    if let Some(factors) = &adapter {
        let [dyb, a] = factors
            .each_ref()
            .map(|factor| case.leaf(factor, Rounded::All, act));
        let dropped = match &dropout {
            Some(dropout) => x.clone() * reference::dropout_mask(dropout, [m, k], &Default::default()),
            None => x.clone(),
        };
        loss = loss + (dropped.matmul(a.transpose()) * dyb).sum();
    }
    let expected = reference::gradient(&x, &loss.backward());

    let adapter = adapter.map(|[dyb, a]| [dyb.view_on(device), a.view_on(device)]);
    let out = Output::new(device, &[m, k], act);
    let op = LinearBackward {
        dy: &dy.view_on(device),
        weight: &weight,
        lora: adapter
            .as_ref()
            .map(|[dyb, a]| LoraTermBackward { dyb, a, dropout }),
        dx: &out.view,
    };
    device.linear_backward(op).unwrap();
    let tolerance = Tolerance::of(act).terms(n + rank).roundings(roundings);
    close(&format!("dx of {case:?}"), &out.view, &expected, tolerance);
    out.check_around();
}

/// Both directions, on the software device at every tier. Compiling with checks takes long: see [`checked`].
fn on_every_tier(case: Case) {
    #[cfg(not(feature = "emulator"))]
    if let Some((_checked, tiers)) = anylora_tests::tested_gpus().split_last() {
        tiers.iter().for_each(|gpu| in_every_type(gpu, |_| [case; 2]));
    }
    #[cfg(feature = "cuda")]
    if let Some(gpu) = anylora_tests::cuda() {
        in_every_type(gpu, |act| {
            let on_tensor_cores = act != DType::F32
                && match case.format {
                    Format::Dense(dtype) => dtype == act,
                    Format::Packed { .. } => true,
                };
            let rounded = if on_tensor_cores {
                Rounded::All
            } else {
                Rounded::Nothing
            };
            let back = Case { rounded, ..case };
            // Few rows have a kernel of their own, in f32.
            [if case.m <= 16 { case } else { back }, back]
        });
    }
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
