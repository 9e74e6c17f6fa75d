#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn lora_down(_gpu: &Wgpu, _: LoraDown<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "lora_down",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn lora_grad(_gpu: &Wgpu, _: LoraGrad<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "lora_grad",
        what: "the kernel".to_owned(),
        engine,
    })
}
