//! `shaders/cache_append.wgsl`: by windows of sequences, a workgroup a token.

use anylora_engine::{Result, Tensor};
use anylora_shaders::params;

use super::attention::{width, width_define};
use super::sequences::Window;
use crate::Wgpu;
use crate::context::Launch;

pub(crate) fn cache_append(
    gpu: &Wgpu,
    new: &Tensor<Wgpu>,
    starts: &Tensor<Wgpu>,
    cache: &Tensor<Wgpu>,
) -> Result<()> {
    let (time, capacity) = (new.shape()[1] as u32, cache.shape()[1] as u32);
    let elements = (new.shape()[2] * new.shape()[3]) as u32;
    for window in Window::all(gpu, "cache_append", &[new, cache], &[starts])? {
        let params = params::CacheAppend {
            batch: window.len(),
            time,
            capacity,
            width: width(elements),
            first: window.first(),
        };
        gpu.launch(&Launch {
            kernel: "cache_append",
            defines: &[("WIDTH", width_define(elements)), ("ACT", gpu.act(new.dtype()))],
            entry: "append",
            params: bytemuck::bytes_of(&params),
            bindings: &[
                ("fresh", window.bind(gpu, new)),
                ("starts", window.bind_small(gpu, starts)),
                ("cache", window.bind(gpu, cache)),
            ],
            workgroups: gpu.spread(u64::from(window.len()) * u64::from(time)),
        })?;
    }
    Ok(())
}
