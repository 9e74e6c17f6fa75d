use anylora_engine::{Result, Tensor};
use burn::tensor::backend::Backend;

use crate::simd::{Kernel, Level, Simd, exp};
use crate::{Burn, parallel, view};

const OP: &str = "swiglu";

pub(crate) fn swiglu<B: Backend>(
    gate: &Tensor<Burn<B>>,
    up: &Tensor<Burn<B>>,
    out: &Tensor<Burn<B>>,
) -> Result<()> {
    let (gate, up): (&[f32], &[f32]) = (&view::floats(OP, gate)?, &view::floats(OP, up)?);
    let mut values = vec![0.0; gate.len()];
    let level = Level::detect();
    parallel::parts(&mut values, |start, out| {
        let range = start..start + out.len();
        level.run(Forward {
            gate: &gate[range.clone()],
            up: &up[range],
            out,
        });
    });
    view::write(OP, out, values)
}

struct Forward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for ((out, gate), up) in self.out.iter_mut().zip(self.gate).zip(self.up) {
            *out = gate * sigmoid(*gate) * up;
        }
    }
}

pub(crate) fn swiglu_backward<B: Backend>(
    gate: &Tensor<Burn<B>>,
    up: &Tensor<Burn<B>>,
    dy: &Tensor<Burn<B>>,
    dgate: &Tensor<Burn<B>>,
    dup: &Tensor<Burn<B>>,
) -> Result<()> {
    let (gate, up): (&[f32], &[f32]) = (&view::floats(OP, gate)?, &view::floats(OP, up)?);
    let dy: &[f32] = &view::floats(OP, dy)?;
    let (mut dgates, mut dups) = (vec![0.0; gate.len()], vec![0.0; gate.len()]);
    let level = Level::detect();
    parallel::parts2(&mut dgates, &mut dups, |start, dgate, dup| {
        let range = start..start + dgate.len();
        level.run(Backward {
            gate: &gate[range.clone()],
            up: &up[range.clone()],
            dy: &dy[range],
            dgate,
            dup,
        });
    });
    view::write(OP, dgate, dgates)?;
    view::write(OP, dup, dups)
}

struct Backward<'a> {
    gate: &'a [f32],
    up: &'a [f32],
    dy: &'a [f32],
    dgate: &'a mut [f32],
    dup: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let inputs = self.gate.iter().zip(self.up).zip(self.dy);
        let outputs = self.dgate.iter_mut().zip(self.dup);
        for (((gate, up), dy), (dgate, dup)) in inputs.zip(outputs) {
            let s = sigmoid(*gate);
            *dgate = dy * up * s * (1.0 + gate * (1.0 - s));
            *dup = dy * gate * s;
        }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}
