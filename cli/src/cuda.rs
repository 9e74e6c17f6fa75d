//! The CUDA engine, in a build with the feature `cuda`, and what takes its place in one without.

#[cfg(feature = "cuda")]
pub use with::{gpus, memory_bytes, open, try_open};
#[cfg(not(feature = "cuda"))]
pub use without::{gpus, memory_bytes, open, try_open};

/// An NVIDIA GPU that CUDA lists.
#[cfg_attr(
    not(feature = "cuda"),
    allow(dead_code, reason = "only a build with CUDA finds any")
)]
pub struct Gpu {
    /// N of `cuda:N`.
    pub index: usize,
    /// Name and driver.
    pub info: anylora_engine::DeviceInfo,
    /// What its kernels may use.
    pub tier: anylora_engine::Tier,
    /// All of its memory.
    pub memory_bytes: u64,
}

#[cfg(feature = "cuda")]
mod with {
    use anyhow::Result;
    use anylora_engine::DeviceInfo;
    use anylora_engine_cuda::{Cuda, OpenError, OpenOptions};
    use anylora_engine_wgpu::OpenOptions as WgpuOptions;

    use super::Gpu;
    use crate::error::Annotate;

    /// The n-th GPU, or the first.
    pub fn open(index: Option<usize>, options: &WgpuOptions) -> Result<Cuda> {
        match opened(index, options) {
            // The GPU is here and fails: that is no fault of the request.
            Err(error @ OpenError::Request { .. }) => Err(error.into()),
            result => result.or_request(),
        }
    }

    /// The first GPU, or nothing where CUDA has none that can be used.
    pub fn try_open(options: &WgpuOptions) -> Result<Option<Cuda>> {
        match opened(None, options) {
            Ok(gpu) => Ok(Some(gpu)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn opened(index: Option<usize>, options: &WgpuOptions) -> Result<Cuda, OpenError> {
        let options = OpenOptions {
            memory_limit: options.memory_limit,
            poison: options.poison,
        };
        Cuda::open(index, options)
    }

    /// What CUDA lists.
    pub fn gpus() -> Vec<Gpu> {
        let gpus = anylora_engine_cuda::gpus().unwrap_or_default();
        let gpu = |gpu: anylora_engine_cuda::GpuReport| Gpu {
            index: gpu.index,
            info: gpu.info,
            tier: Cuda::TIER,
            memory_bytes: gpu.memory_bytes,
        };
        gpus.into_iter().map(gpu).collect()
    }

    /// The memory of an open GPU.
    pub fn memory_bytes(device: &DeviceInfo) -> Option<u64> {
        let found = gpus().into_iter().find(|gpu| gpu.info == *device);
        found.map(|gpu| gpu.memory_bytes)
    }
}

#[cfg(not(feature = "cuda"))]
mod without {
    use anyhow::Result;
    use anylora_engine::DeviceInfo;
    use anylora_engine_burn::Cpu;
    use anylora_engine_wgpu::OpenOptions;

    use super::Gpu;
    use crate::error::{note, request};

    /// A wrong request: the type is that of any engine.
    pub fn open(_index: Option<usize>, _options: &OpenOptions) -> Result<Cpu> {
        let error = request(
            "this build of anylora has no CUDA; `--device vulkan` takes an NVIDIA GPU with its WGSL kernels",
        );
        let hint = "cargo install --path cli --features cuda".to_owned();
        Err(note(error, true, Some(hint)))
    }

    /// Nothing.
    pub fn try_open(_options: &OpenOptions) -> Result<Option<Cpu>> {
        Ok(None)
    }

    /// Nothing.
    pub fn gpus() -> Vec<Gpu> {
        Vec::new()
    }

    /// Nothing.
    pub fn memory_bytes(_device: &DeviceInfo) -> Option<u64> {
        None
    }
}
