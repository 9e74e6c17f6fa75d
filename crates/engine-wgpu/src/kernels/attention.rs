#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn attention(_gpu: &Wgpu, _: Attention<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "attention",
        what: "the kernel".to_owned(),
        engine,
    })
}

pub(crate) fn attention_backward(_gpu: &Wgpu, _: AttentionBackward<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "attention_backward",
        what: "the kernel".to_owned(),
        engine,
    })
}
