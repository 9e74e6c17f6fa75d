#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn attention_decode(_gpu: &Wgpu, _: AttentionDecode<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "attention_decode",
        what: "the kernel".to_owned(),
        engine,
    })
}
