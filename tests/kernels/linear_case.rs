//! A product with a frozen weight, in both directions, against the reference.

use anylora_engine::{Backend, DType, Dropout, Linear, LinearBackward, LoraTerm, LoraTermBackward, Weight};
use anylora_engine_burn::reference::{self, Oracle};
use anylora_quant::{BlockSize, Codebook, quantize};
use anylora_tests::{Operand, Output, Tolerance, close, encode};
use burn::tensor::Tensor as BurnTensor;

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
