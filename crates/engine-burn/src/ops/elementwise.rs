use std::ptr;

use anylora_engine::{DType, Result, Tensor};
use burn::tensor::backend::Backend;

use super::weight::widen;
use crate::{Burn, parallel, view};

pub(crate) fn add<B: Backend>(a: &Tensor<Burn<B>>, b: &Tensor<Burn<B>>, out: &Tensor<Burn<B>>) -> Result<()> {
    const OP: &str = "add";
    let b: &[f32] = &view::floats(OP, b)?;
    if ptr::eq(a.storage(), out.storage()) && a.offset_bytes() == out.offset_bytes() {
        return view::update(OP, out, |out| {
            parallel::parts(out, |start, out| {
                parallel::add_scaled(out, 1.0, &b[start..start + out.len()])
            });
        });
    }
    let a: &[f32] = &view::floats(OP, a)?;
    let mut sum = vec![0.0; a.len()];
    parallel::parts(&mut sum, |start, out| {
        for ((out, a), b) in out.iter_mut().zip(&a[start..]).zip(&b[start..]) {
            *out = a + b;
        }
    });
    view::write(OP, out, sum)
}

pub(crate) fn scale<B: Backend>(x: &Tensor<Burn<B>>, factor: f32) -> Result<()> {
    view::update("scale", x, |x| {
        parallel::parts(x, |_, x| x.iter_mut().for_each(|x| *x *= factor));
    })
}

pub(crate) fn fill<B: Backend>(x: &Tensor<Burn<B>>, value: f32) -> Result<()> {
    const OP: &str = "fill";
    let words = match x.dtype() {
        DType::U32 => bytemuck::cast_vec(vec![value as u32; x.len()]),
        DType::I32 => bytemuck::cast_vec(vec![value as i32; x.len()]),
        _ => {
            view::expect_f32(OP, "x", x)?;
            return view::write(OP, x, vec![value; x.len()]);
        }
    };
    x.storage().write_raw(
        OP,
        x.offset_bytes() as usize,
        bytemuck::cast_slice::<u32, u8>(&words),
    )
}

pub(crate) fn cast<B: Backend>(x: &Tensor<Burn<B>>, out: &Tensor<Burn<B>>) -> Result<()> {
    const OP: &str = "cast";
    view::expect_f32(OP, "out", out)?;
    if x.dtype() == DType::F32 {
        return copy(x, out);
    }
    let mut values = vec![0.0; x.len()];
    let (bytes, start) = view::bytes(OP, x)?;
    widen(x.dtype(), &bytes[start..start + x.size_bytes()], &mut values)?;
    view::write(OP, out, values)
}

pub(crate) fn copy<B: Backend>(x: &Tensor<Burn<B>>, out: &Tensor<Burn<B>>) -> Result<()> {
    const OP: &str = "copy";
    if view::is_whole(x) && view::is_whole(out) {
        return out.storage().share(OP, x.storage());
    }
    if x.dtype() == DType::F32 {
        return view::write(OP, out, view::floats(OP, x)?.to_vec());
    }
    let (bytes, start) = view::bytes(OP, x)?;
    out.storage().write_raw(
        OP,
        out.offset_bytes() as usize,
        &bytes[start..start + x.size_bytes()],
    )
}
