use anylora_engine::{Result, Tensor};
use burn::tensor::backend::Backend;

use crate::{Burn, parallel, view};

const OP: &str = "swiglu";

pub(crate) fn swiglu<B: Backend>(
    gate: &Tensor<Burn<B>>,
    up: &Tensor<Burn<B>>,
    out: &Tensor<Burn<B>>,
) -> Result<()> {
    let (gate, up) = (view::floats(OP, gate)?, view::floats(OP, up)?);
    let mut values = vec![0.0; gate.len()];
    parallel::parts(&mut values, |start, out| {
        let range = start..start + out.len();
        for ((out, gate), up) in out.iter_mut().zip(&gate[range.clone()]).zip(&up[range]) {
            *out = gate * sigmoid(*gate) * up;
        }
    });
    view::write(OP, out, values)
}

pub(crate) fn swiglu_backward<B: Backend>(
    gate: &Tensor<Burn<B>>,
    up: &Tensor<Burn<B>>,
    dy: &Tensor<Burn<B>>,
    dgate: &Tensor<Burn<B>>,
    dup: &Tensor<Burn<B>>,
) -> Result<()> {
    let (gate, up, dy) = (
        view::floats(OP, gate)?,
        view::floats(OP, up)?,
        view::floats(OP, dy)?,
    );
    let (mut dgates, mut dups) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    parallel::rows2((&mut dgates, 1), (&mut dups, 1), |i, dgate, dup| {
        let s = sigmoid(gate[i]);
        dgate[0] = dy[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
        dup[0] = dy[i] * gate[i] * s;
    });
    view::write(OP, dgate, dgates)?;
    view::write(OP, dup, dups)
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
