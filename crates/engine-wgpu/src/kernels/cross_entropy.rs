#[allow(unused_imports, reason = "a stand-in")]
use anylora_engine::*;

use crate::Wgpu;

pub(crate) fn cross_entropy(
    _gpu: &Wgpu,
    _: &Tensor<Wgpu>,
    _: &Tensor<Wgpu>,
    _: Option<f32>,
    _: &Tensor<Wgpu>,
    _: usize,
) -> Result<()> {
    let engine = "engine-wgpu".to_owned();
    Err(Error::Unsupported {
        op: "cross_entropy",
        what: "the kernel".to_owned(),
        engine,
    })
}
