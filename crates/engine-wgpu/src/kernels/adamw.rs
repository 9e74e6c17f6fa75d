#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn adamw(_gpu: &Wgpu, _: AdamW<'_, Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "adamw",
        what: "the kernel".to_owned(),
        engine,
    })
}
