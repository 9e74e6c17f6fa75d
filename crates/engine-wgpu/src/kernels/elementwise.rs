#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn add(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "add",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn scale(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: f32) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "scale",
        what: "the kernel".to_owned(),
        engine,
    })
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

pub(crate) fn copy(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "copy",
        what: "the kernel".to_owned(),
        engine,
    })
}
