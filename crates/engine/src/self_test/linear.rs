//! Products with frozen weights, in every format, with and without an adapter.

use anylora_quant::Codebook;

use super::case::{Case, Suite};
use super::inputs::{Format, Inputs};
use crate::ops::LoraMatrices;
use crate::{Backend, DType, Dropout, Result, ops};

/// N and K: neither is a multiple of a tile, nor K of a block, so that blocks run on from row to row.
const SHAPE: [usize; 2] = [70, 204];

/// One token of generation, a few, more, and more than a tile.
const ROWS: [usize; 4] = [1, 3, 9, 67];

pub(super) async fn run<B: Backend, R: Backend>(suite: &mut Suite<'_, B, R>) {
    for format in Format::ALL {
        for rows in ROWS {
            suite.check(Linear { format, rows }).await;
        }
    }
    for format in Format::ALL {
        for (rows, rank, dropout) in [
            (1, 8, false),
            (3, 5, true),
            (9, 16, true),
            (67, 8, true),
            (67, 16, false),
        ] {
            let case = LoraLinear {
                format,
                shape: SHAPE,
                rows,
                rank,
                dropout,
            };
            suite.check(case).await;
        }
    }
    // Rows that begin on whole vectors, and more than one of the largest tiles in every direction.
    for format in [
        Format::Dense(DType::F32),
        Format::Dense(DType::F16),
        Format::Dense(DType::BF16),
        Format::Quantized(Codebook::Nf4, 64, true),
    ] {
        for rows in [3, 150] {
            let case = LoraLinear {
                format,
                shape: [136, 192],
                rows,
                rank: 8,
                dropout: true,
            };
            suite.check(case).await;
        }
    }
    // Large enough in one direction to fill a device: kernels share the work differently there.
    for (rows, shape) in [(4112, [16, 32]), (2, [16, 8200])] {
        let case = LoraLinear {
            format: Format::Dense(DType::F32),
            shape,
            rows,
            rank: 8,
            dropout: true,
        };
        suite.check(case).await;
    }
    for format in Format::ALL {
        suite.check(Logits { format }).await;
    }
    for format in Format::ALL {
        for vocab in [70, 136] {
            suite.check(HeadLoss { format, vocab }).await;
        }
    }
}

struct Linear {
    format: Format,
    rows: usize,
}

impl Case for Linear {
    const OP: &'static str = "linear";

    fn name(&self) -> String {
        format!("{}, M = {}", self.format, self.rows)
    }

    fn terms(&self) -> usize {
        SHAPE[1]
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let [n, k] = SHAPE;
        let (x, dy) = (inputs.act(&[self.rows, k])?, inputs.act(&[self.rows, n])?);
        let weight = inputs.weight(self.format, SHAPE)?;
        let bias = inputs.floats(&[n], DType::F32)?;
        inputs.output("y", ops::linear(&x, &weight, None)?);
        inputs.output("y with bias", ops::linear(&x, &weight, Some(&bias))?);
        inputs.output("dx", ops::linear_backward(&dy, &weight)?);
        Ok(())
    }
}

struct LoraLinear {
    format: Format,
    /// N and K.
    shape: [usize; 2],
    rows: usize,
    rank: usize,
    dropout: bool,
}

impl Case for LoraLinear {
    const OP: &'static str = "lora_linear";

    fn name(&self) -> String {
        let dropout = if self.dropout { ", dropout" } else { "" };
        let Self {
            format, rows, rank, ..
        } = self;
        format!("{format} {:?}, M = {rows}, r = {rank}{dropout}", self.shape)
    }

    fn terms(&self) -> usize {
        self.rows.max(self.shape[1])
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let [n, k] = self.shape;
        let (x, dy) = (inputs.act(&[self.rows, k])?, inputs.act(&[self.rows, n])?);
        let weight = inputs.weight(self.format, self.shape)?;
        let bias = inputs.floats(&[n], DType::F32)?;
        let a = inputs.floats(&[self.rank, k], DType::F32)?;
        let b = inputs.floats(&[n, self.rank], DType::F32)?;
        // Gradients are added to what is there.
        let grad_a = inputs.floats(&[self.rank, k], DType::F32)?;
        let grad_b = inputs.floats(&[n, self.rank], DType::F32)?;
        let lora = LoraMatrices {
            a: &a,
            b: &b,
            scale: 2.0,
            dropout: self.dropout.then_some(Dropout {
                p: 0.25,
                seed: 11,
                step: 3,
                layer: 2,
            }),
        };
        let (y, xa) = ops::lora_linear(&x, &weight, Some(&bias), &lora)?;
        let dx = ops::lora_linear_backward(&x, &weight, &lora, &xa, &dy, &grad_a, &grad_b, true)?;
        inputs.output("y", y);
        inputs.output("xa", xa);
        inputs.output("dA", grad_a);
        inputs.output("dB", grad_b);
        if let Some(dx) = dx {
            inputs.output("dx", dx);
        }
        Ok(())
    }
}

struct Logits {
    format: Format,
}

impl Case for Logits {
    const OP: &'static str = "logits";

    fn name(&self) -> String {
        self.format.to_string()
    }

    fn terms(&self) -> usize {
        SHAPE[1]
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let x = inputs.act(&[2, SHAPE[1]])?;
        let weight = inputs.weight(self.format, SHAPE)?;
        inputs.output("logits", ops::logits(&x, &weight)?);
        Ok(())
    }
}

struct HeadLoss {
    format: Format,
    vocab: usize,
}

impl Case for HeadLoss {
    const OP: &'static str = "head_loss";

    fn name(&self) -> String {
        format!("{}, V = {}", self.format, self.vocab)
    }

    fn terms(&self) -> usize {
        SHAPE[1]
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let x = inputs.act(&[6, SHAPE[1]])?;
        let weight = inputs.weight(self.format, [self.vocab, SHAPE[1]])?;
        let labels = inputs.labels(&[3, -100, 0, 69, 12, -100])?;
        let head = ops::head_loss(&x, &weight, &labels, Some(0.25))?;
        inputs.output("loss", head.loss);
        if let Some(dx) = head.dx {
            inputs.output("dx", dx);
        }
        inputs.output("loss alone", ops::head_loss(&x, &weight, &labels, None)?.loss);
        Ok(())
    }
}
