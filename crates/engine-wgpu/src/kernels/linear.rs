#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn linear(_gpu: &Wgpu, _: Linear<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "linear",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn linear_backward(_gpu: &Wgpu, _: LinearBackward<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "linear_backward",
        what: "the kernel".to_owned(),
        engine,
    })
}
