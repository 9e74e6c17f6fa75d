#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn embedding(_gpu: &Wgpu, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>, _: &Tensor<Wgpu>) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "embedding",
        what: "the kernel".to_owned(),
        engine,
    })
}
