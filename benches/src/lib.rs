//! What the benches of kernels share: the device, tensors, and timing that ends with the work done.
//!
//! `ANYLORA_DEVICE` names the device as `--device` does; without it, the best GPU (with the feature `cuda`
//! an NVIDIA one by CUDA), else the software adapter. Shapes
//! are smaller on a software adapter. With `--test`, as `cargo test --benches` runs them, every bench runs once.

use std::time::{Duration, Instant};

use anylora_engine::{Backend, DType, DeviceKind, DeviceSpec, MemoryKind, Result, Tensor};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{OpenError, OpenOptions, Wgpu};
use criterion::{BenchmarkId, Criterion, Throughput};
use pollster::block_on;

/// What was opened.
pub enum Device {
    /// The CPU engine.
    Cpu(Cpu),
    /// A GPU, or the software adapter, by WGSL.
    Wgpu(Wgpu),
    /// An NVIDIA GPU by CUDA.
    #[cfg(feature = "cuda")]
    Cuda(anylora_engine_cuda::Cuda),
}

/// Opens the device, or says why not and ends the process.
pub fn device() -> Device {
    let spec = match std::env::var("ANYLORA_DEVICE") {
        Ok(name) => name.parse().unwrap_or_else(|error| fail(&error)),
        Err(_) => DeviceSpec::Auto,
    };
    if spec == DeviceSpec::Cpu {
        let cpu = Cpu::new(None);
        introduce(&cpu);
        return Device::Cpu(cpu);
    }
    #[cfg(feature = "cuda")]
    match (spec, cuda(spec)) {
        (_, Ok(gpu)) => return Device::Cuda(gpu),
        (DeviceSpec::Cuda(_), Err(error)) => fail(&error),
        _ => {}
    }
    let open = |spec| block_on(Wgpu::open(spec, OpenOptions::default()));
    let gpu = match open(spec) {
        Err(OpenError::NoHardware) if spec == DeviceSpec::Auto => open(DeviceSpec::Software),
        other => other,
    };
    match gpu {
        Ok(gpu) => {
            introduce(&gpu);
            Device::Wgpu(gpu)
        }
        Err(error) => fail(&error),
    }
}

/// Opens the GPU that CUDA gives for `cuda:N`, and for `auto`.
///
/// # Errors
/// What is missing, also for every other device.
#[cfg(feature = "cuda")]
pub fn cuda(
    spec: DeviceSpec,
) -> std::result::Result<anylora_engine_cuda::Cuda, anylora_engine_cuda::OpenError> {
    let index = match spec {
        DeviceSpec::Cuda(index) => index,
        DeviceSpec::Auto => None,
        _ => return Err(anylora_engine_cuda::OpenError::NoDriver),
    };
    let gpu = anylora_engine_cuda::Cuda::open(index, anylora_engine_cuda::OpenOptions::default())?;
    introduce(&gpu);
    Ok(gpu)
}

fn introduce<B: Backend>(gpu: &B) {
    let info = gpu.info();
    eprintln!(
        "{} ({}, {}), {}",
        info.name,
        info.backend,
        info.driver,
        gpu.caps().tier
    );
}

/// Says what is wrong, and ends the process.
pub fn fail(error: &dyn std::error::Error) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

/// `on_device!(|gpu| bench(gpu))`: with the device of [`device`]. `bench` is generic over the backend.
#[macro_export]
macro_rules! on_device {
    (|$gpu:ident| $bench:expr) => {
        match $crate::device() {
            $crate::Device::Cpu(gpu) => {
                let $gpu = &gpu;
                $bench
            }
            $crate::Device::Wgpu(gpu) => {
                let $gpu = &gpu;
                $bench
            }
            #[cfg(feature = "cuda")]
            $crate::Device::Cuda(gpu) => {
                let $gpu = &gpu;
                $bench
            }
        }
    };
}

/// Whether it only stands in for a GPU.
pub fn is_software<B: Backend>(gpu: &B) -> bool {
    gpu.info().kind == DeviceKind::Software
}

/// The types in which the device stores activations.
pub fn activations<B: Backend>(gpu: &B) -> Vec<DType> {
    let mut dtypes = vec![DType::F32, DType::F16, DType::BF16];
    dtypes.retain(|&dtype| gpu.caps().has_activation(dtype));
    dtypes
}

/// A tensor in which every byte is 0x2A: a small number in every type, and the same token id everywhere.
///
/// # Errors
/// Device errors.
pub fn tensor<B: Backend>(gpu: &B, shape: &[usize], dtype: DType) -> Result<Tensor<B>> {
    let bytes = vec![0x2A; shape.iter().product::<usize>() * dtype.size()];
    Tensor::from_bytes(gpu, shape, dtype, MemoryKind::Activations, &bytes)
}

/// Times `operation` as `group/name`: as many launches as criterion asks for, then a wait for all of them.
///
/// # Panics
/// Where the operation or the device fails.
pub fn bench<B: Backend>(
    criterion: &mut Criterion,
    gpu: &B,
    [group, name]: [&str; 2],
    throughput: Throughput,
    operation: impl Fn() -> Result<()>,
) {
    let mut group = criterion.benchmark_group(group);
    group
        .throughput(throughput)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    let run = |times: u64| -> Result<Duration> {
        block_on(gpu.synchronize())?;
        let start = Instant::now();
        for _ in 0..times {
            operation()?;
        }
        block_on(gpu.synchronize())?;
        Ok(start.elapsed())
    };
    group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
        bencher.iter_custom(|times| match run(times) {
            Ok(time) => time,
            Err(error) => panic!("{name}: {error}"),
        });
    });
    group.finish();
}

/// Numbers from -0.5 to 0.5. An xorshift needs no dependency.
pub fn random(len: usize) -> Vec<f32> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// The middle one.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
