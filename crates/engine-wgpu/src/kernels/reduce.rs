#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn reduce(
    _gpu: &Wgpu,
    _: &Tensor<Wgpu>,
    _: bool,
    _: usize,
    _: &Tensor<Wgpu>,
    _: usize,
) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "reduce",
        what: "the kernel".to_owned(),
        engine,
    })
}
