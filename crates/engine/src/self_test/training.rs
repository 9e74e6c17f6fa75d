//! What follows the gradients.

use super::case::{Case, Suite};
use super::inputs::Inputs;
use crate::{AdamW, Backend, DType, Result, ops};

pub(super) async fn run<B: Backend, R: Backend>(suite: &mut Suite<'_, B, R>) {
    suite.check(SumSquares).await;
    suite.check(ThreeSteps).await;
}

/// More than one chunk, and more than one tensor.
struct SumSquares;

impl Case for SumSquares {
    const OP: &'static str = "sum_squares";

    fn name(&self) -> String {
        "[9001], [8, 33]".to_owned()
    }

    fn terms(&self) -> usize {
        9265
    }

    fn dtypes(&self) -> &'static [DType] {
        &[DType::F32]
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let (a, b) = (
            inputs.floats(&[9001], DType::F32)?,
            inputs.floats(&[8, 33], DType::F32)?,
        );
        inputs.output("sum", ops::sum_squares(&[&a, &b])?);
        Ok(())
    }
}

struct ThreeSteps;

impl Case for ThreeSteps {
    const OP: &'static str = "adamw";

    fn name(&self) -> String {
        "three steps".to_owned()
    }

    fn terms(&self) -> usize {
        3
    }

    fn dtypes(&self) -> &'static [DType] {
        &[DType::F32]
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let shape = [5, 67];
        let param = inputs.floats(&shape, DType::F32)?;
        let (m, v) = (inputs.zeros(&shape)?, inputs.zeros(&shape)?);
        for step in 1..=3 {
            let grad = inputs.floats(&shape, DType::F32)?;
            ops::adamw(AdamW {
                param: &param,
                grad: &grad,
                m: &m,
                v: &v,
                step,
                lr: 1e-2,
                betas: (0.9, 0.999),
                eps: 1e-8,
                weight_decay: 0.1,
                grad_scale: 0.5,
            })?;
        }
        inputs.output("param", param);
        inputs.output("m", m);
        inputs.output("v", v);
        Ok(())
    }
}
