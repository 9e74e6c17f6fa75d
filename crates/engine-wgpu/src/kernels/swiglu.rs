#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn swiglu(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "swiglu",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn swiglu_backward(
    _gpu: &Wgpu,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "swiglu_backward",
        what: "the kernel".to_owned(),
        engine,
    })
}
