#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn rms_norm(
    _gpu: &Wgpu,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
    _: f32,
    _: &Tensor<Wgpu>,
) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "rms_norm",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn rms_norm_backward(
    _gpu: &Wgpu,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
    _: f32,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "rms_norm_backward",
        what: "the kernel".to_owned(),
        engine,
    })
}
