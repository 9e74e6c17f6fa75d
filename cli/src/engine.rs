//! From `--device` to an engine.

use anyhow::Result;
use anylora_engine::{Backend, DeviceInfo, DeviceKind, DeviceSpec};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{OpenError, OpenOptions, Wgpu};
use clap::Args;
use serde::Serialize;
use sysinfo::{MemoryRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System};

use crate::cuda;
use crate::error::Annotate;

/// The device of a command that computes.
#[derive(Clone, Copy, Debug, Args)]
pub struct DeviceArgs {
    /// Where it computes: auto, cpu, software, `vulkan[:N]`, `metal[:N]`, `dx12[:N]` or `cuda[:N]`; `anylora
    /// devices` lists what is here
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

/// Runs a job on the device that `spec` means: for `auto` an NVIDIA GPU by CUDA where this build has that, else a
/// discrete GPU, else an integrated one, else the CPU engine. Of `options` the CPU engine knows the memory limit.
pub fn with_device<J: Job>(spec: DeviceSpec, options: OpenOptions, job: J) -> Result<J::Output> {
    let memory_limit = options.memory_limit;
    if spec == DeviceSpec::Cpu {
        return job.run(Cpu::new(memory_limit));
    }
    if let DeviceSpec::Cuda(index) = spec {
        return job.run(cuda::open(index, &options)?);
    }
    if spec == DeviceSpec::Auto
        && let Some(gpu) = cuda::try_open(&options)?
    {
        return job.run(gpu);
    }
    match pollster::block_on(Wgpu::open(spec, options)) {
        Ok(gpu) => job.run(gpu),
        Err(OpenError::NoHardware) => job.run(Cpu::new(memory_limit)),
        // The adapter is here and fails: that is no fault of the request.
        Err(error @ OpenError::Request { .. }) => Err(error.into()),
        Err(error) => Err(error).or_request(),
    }
}

/// The memory of an open device, where it is known.
pub fn memory_bytes(device: &DeviceInfo) -> Option<u64> {
    if device.kind == DeviceKind::Cpu {
        return host_memory_bytes();
    }
    if device.engine == "cuda" {
        return cuda::memory_bytes(device);
    }
    let adapters = pollster::block_on(anylora_engine_wgpu::adapters());
    let found = adapters.into_iter().find(|report| report.info == *device);
    found.and_then(|report| report.memory_bytes)
}

/// All of this machine's memory, or what the group of processes may have where that is less.
pub fn host_memory_bytes() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
    let group = system.cgroup_limits().map(|limits| limits.total_memory);
    let total = system.total_memory();
    Some(group.map_or(total, |group| group.min(total))).filter(|&bytes| bytes > 0)
}

/// What this process has in memory now, where the system tells.
pub fn resident_bytes() -> Option<u64> {
    let id = sysinfo::get_current_pid().ok()?;
    let mut system = System::new();
    let asked = ProcessRefreshKind::nothing().with_memory();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[id]), true, asked);
    Some(system.process(id)?.memory())
}

/// What opening a device took, beside what it is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// Host memory: the growth of this process.
    pub host_bytes: Option<u64>,
    /// The device's own memory. Only Vulkan tells, on hardware.
    pub device_bytes: Option<u64>,
}

/// [`with_device`] for a job that wants to know what opening took.
pub fn with_measured<J: Job>(spec: DeviceSpec, make: impl FnOnce(Opening) -> J) -> Result<J::Output> {
    struct Measured<F>(F, Option<u64>);
    impl<J: Job, F: FnOnce(Opening) -> J> Job for Measured<F> {
        type Output = J::Output;

        fn run<B: Backend>(self, backend: B) -> Result<J::Output> {
            pollster::block_on(backend.synchronize())?;
            let grown = |before: u64| Some(resident_bytes()?.saturating_sub(before));
            let opening = Opening {
                host_bytes: self.1.and_then(grown),
                device_bytes: backend.driver_bytes(),
            };
            (self.0)(opening).run(backend)
        }
    }
    with_device(spec, OpenOptions::default(), Measured(make, resident_bytes()))
}
