//! From `--device` to an engine.

use anyhow::Result;
use anylora_engine::{Backend, DeviceSpec};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{OpenError, OpenOptions, Wgpu};
use clap::Args;

use crate::error::Annotate;

/// The device of a command that computes.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeviceArgs {
    /// Where it computes: auto, cpu, software, `vulkan[:N]`, `metal[:N]` or `dx12[:N]`; `anylora devices` lists
    /// what is here
    #[arg(long, env = "ANYLORA_DEVICE", default_value_t, value_name = "DEVICE")]
    pub device: DeviceSpec,
}

/// What a command does on a device, whichever it is.
pub trait Job {
    /// What it brings back.
    type Output;

    /// Does it.
    fn run<B: Backend>(self, backend: B) -> Result<Self::Output>;
}

/// Runs a job on the device that `spec` means: for `auto` a discrete GPU, else an integrated one, else the CPU
/// engine. Of `options` the CPU engine knows the memory limit.
pub fn with_device<J: Job>(spec: DeviceSpec, options: OpenOptions, job: J) -> Result<J::Output> {
    let memory_limit = options.memory_limit;
    if spec == DeviceSpec::Cpu {
        return job.run(Cpu::new(memory_limit));
    }
    match pollster::block_on(Wgpu::open(spec, options)) {
        Ok(gpu) => job.run(gpu),
        Err(OpenError::NoHardware) => job.run(Cpu::new(memory_limit)),
        // The adapter is here and fails: that is no fault of the request.
        Err(error @ OpenError::Request { .. }) => Err(error.into()),
        Err(error) => Err(error).or_request(),
    }
}
