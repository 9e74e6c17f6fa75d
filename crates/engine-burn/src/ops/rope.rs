use anylora_engine::{Result, Tensor};
use burn::tensor::backend::Backend;

use crate::{Burn, parallel, view};

const OP: &str = "rope";

pub(crate) fn rope<B: Backend>(
    x: &Tensor<Burn<B>>,
    positions: &Tensor<Burn<B>>,
    table: &Tensor<Burn<B>>,
    inverse: bool,
    out: &Tensor<Burn<B>>,
) -> Result<()> {
    let (places, rotary, dim) = (table.leading(), table.columns(), x.columns());
    let (half, width) = (rotary / 2, x.shape()[1] * dim);
    let positions = view::integers::<B, u32>(OP, positions)?;
    let (x, table): (&[f32], &[f32]) = (&view::floats(OP, x)?, &view::floats(OP, table)?);
    let sign = if inverse { -1.0 } else { 1.0 };
    let mut values = vec![0.0; x.len()];
    parallel::rows(&mut values, width, |row, out| {
        let place = positions[row] as usize;
        if place >= places {
            return out.fill(f32::NAN);
        }
        let (cos, sin) = table[place * rotary..(place + 1) * rotary].split_at(half);
        let x = &x[row * width..(row + 1) * width];
        for (x, out) in x.chunks(dim).zip(out.chunks_mut(dim)) {
            for i in 0..half {
                let (first, second, sin) = (x[i], x[i + half], sign * sin[i]);
                out[i] = first * cos[i] - second * sin;
                out[i + half] = second * cos[i] + first * sin;
            }
            out[rotary..].copy_from_slice(&x[rotary..]);
        }
    });
    view::write(OP, out, values)
}
