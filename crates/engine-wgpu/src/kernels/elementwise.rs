//! add, scale, fill, cast, copy.

use anylora_engine::{Error, Result, Tensor};
use anylora_shaders::params;

use super::pointwise::Pointwise;
use crate::Wgpu;

pub(crate) fn add(gpu: &Wgpu, a: &Tensor<Wgpu>, b: &Tensor<Wgpu>, out: &Tensor<Wgpu>) -> Result<()> {
    if same(a, out) && same(b, out) {
        return scale(gpu, out, 2.0);
    }
    let (entry, tensors): (_, &[_]) = if same(a, out) {
        ("add_in_place", &[("b", b), ("x", out)])
    } else if same(b, out) {
        ("add_in_place", &[("b", a), ("x", out)])
    } else {
        ("add", &[("a", a), ("b", b), ("x", out)])
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

pub(crate) fn fill(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: f32) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "fill",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn cast(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "cast",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn copy(gpu: &Wgpu, x: &Tensor<Wgpu>, out: &Tensor<Wgpu>) -> Result<()> {
    gpu.copy_bytes(x, out)
}
