//! What the benches of kernels share: the device, tensors, and timing that ends with the work done.
//!
//! `ANYLORA_DEVICE` names the device as `--device` does; without it, the best GPU, else the software adapter. Shapes
//! are smaller on a software adapter. With `--test`, as `cargo test --benches` runs them, every bench runs once.

use std::time::{Duration, Instant};

use anylora_engine::{Backend, DType, DeviceSpec, MemoryKind, Result, Tensor};
use anylora_engine_wgpu::{OpenError, OpenOptions, Wgpu};
use criterion::{BenchmarkId, Criterion, Throughput};
use pollster::block_on;

/// Opens the device, or says why not and ends the process.
pub fn device() -> Wgpu {
    let open = |spec| block_on(Wgpu::open(spec, OpenOptions::default()));
    let gpu = match std::env::var("ANYLORA_DEVICE") {
        Ok(name) => match name.parse() {
            Ok(spec) => open(spec),
            Err(error) => fail(&error),
        },
        Err(_) => match open(DeviceSpec::Auto) {
            Err(OpenError::NoHardware) => open(DeviceSpec::Software),
            other => other,
        },
    };
    match gpu {
        Ok(gpu) => {
            eprintln!(
                "{} ({}), {}",
                gpu.info().name,
                gpu.info().backend,
                gpu.caps().tier
            );
            gpu
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &dyn std::error::Error) -> ! {
    eprintln!("{error}");
    std::process::exit(1)
}

/// The types in which the device stores activations.
pub fn activations(gpu: &Wgpu) -> Vec<DType> {
    let mut dtypes = vec![DType::F32, DType::F16];
    dtypes.retain(|&dtype| gpu.caps().has_activation(dtype));
    dtypes
}

/// A tensor in which every byte is 0x2A: a small number in every type, and the same token id everywhere.
///
/// # Errors
/// Device errors.
pub fn tensor(gpu: &Wgpu, shape: &[usize], dtype: DType) -> Result<Tensor<Wgpu>> {
    let bytes = vec![0x2A; shape.iter().product::<usize>() * dtype.size()];
    Tensor::from_bytes(gpu, shape, dtype, MemoryKind::Activations, &bytes)
}

/// Times `operation` as `group/name`: as many launches as criterion asks for, then a wait for all of them.
///
/// # Panics
/// Where the operation or the device fails.
pub fn bench(
    criterion: &mut Criterion,
    gpu: &Wgpu,
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
