//! add, scale, fill, cast, copy.

use anylora_engine::{DType, Result, Tensor};
use anylora_shaders::params;

use super::pointwise::Pointwise;
use crate::Wgpu;

pub(crate) fn add(gpu: &Wgpu, a: &Tensor<Wgpu>, b: &Tensor<Wgpu>, out: &Tensor<Wgpu>) -> Result<()> {
    // A dispatch binds a buffer that it writes once.
    let (entry, tensors): (_, &[_]) = match (same(a, out), same(b, out)) {
        (true, true) => return scale(gpu, out, 2.0),
        (true, false) => ("add_in_place", &[("b", b), ("x", out)]),
        (false, true) => ("add_in_place", &[("b", a), ("x", out)]),
        (false, false) => ("add", &[("a", a), ("b", b), ("x", out)]),
    };
    let kernel = Pointwise {
        op: "add",
        kernel: "elementwise",
        defines: &[("ACT", gpu.act(out.dtype()))],
        entry,
        tensors,
    };
    kernel.launch(gpu, |count| params::Elementwise { count, factor: 1.0 })
}

/// Whether two tensors are the same memory.
fn same(a: &Tensor<Wgpu>, b: &Tensor<Wgpu>) -> bool {
    a.storage().buffer == b.storage().buffer && a.offset_bytes() == b.offset_bytes()
}

pub(crate) fn scale(gpu: &Wgpu, x: &Tensor<Wgpu>, factor: f32) -> Result<()> {
    let kernel = Pointwise {
        op: "scale",
        kernel: "elementwise",
        defines: &[("ACT", gpu.act(x.dtype()))],
        entry: "scale",
        tensors: &[("x", x)],
    };
    kernel.launch(gpu, |count| params::Elementwise { count, factor })
}

pub(crate) fn fill(gpu: &Wgpu, x: &Tensor<Wgpu>, value: f32) -> Result<()> {
    let (element, bits) = match x.dtype() {
        DType::U32 => ("u32", value as u32),
        DType::I32 => ("u32", (value as i32).cast_unsigned()),
        DType::F16 => ("f16", f16_bits(value)),
        _ => ("u32", value.to_bits()),
    };
    if bits == 0 && x.size_bytes().is_multiple_of(4) {
        return gpu.clear_bytes(x);
    }
    let kernel = Pointwise {
        op: "fill",
        kernel: "fill",
        defines: &[("ELEMENT", element)],
        entry: "fill",
        tensors: &[("x", x)],
    };
    kernel.launch(gpu, |count| params::Fill { count, bits })
}

fn f16_bits(value: f32) -> u32 {
    u32::from(half::f16::from_f32(value).to_bits())
}

pub(crate) fn cast(gpu: &Wgpu, x: &Tensor<Wgpu>, out: &Tensor<Wgpu>) -> Result<()> {
    if x.dtype() == out.dtype() {
        return copy(gpu, x, out);
    }
    let kernel = Pointwise {
        op: "cast",
        kernel: "cast",
        defines: &[("FROM", name(x.dtype())), ("TO", name(out.dtype()))],
        entry: "convert",
        tensors: &[("x", x), ("y", out)],
    };
    kernel.launch(gpu, |count| params::Cast { count })
}

/// The define of a float type in memory.
pub(super) fn name(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        _ => "f32",
    }
}

pub(crate) fn copy(gpu: &Wgpu, x: &Tensor<Wgpu>, out: &Tensor<Wgpu>) -> Result<()> {
    gpu.copy_bytes(x, out)
}
