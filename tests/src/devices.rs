use std::sync::{LazyLock, Mutex, PoisonError};

use anylora_engine::{Backend, DType, DeviceSpec, Tier};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{OpenOptions, Wgpu};

/// What `ANYLORA_DEVICE` names, for tests on hardware: `cuda[:N]` is tested alone, and another GPU takes the place of the
/// software adapter, without CUDA. `scripts/check-gpu` sets it.
fn named() -> Option<DeviceSpec> {
    let name = std::env::var("ANYLORA_DEVICE").ok()?;
    let spec = name.parse::<DeviceSpec>();
    let spec = spec.unwrap_or_else(|error| panic!("ANYLORA_DEVICE: {error}"));
    assert!(
        !matches!(spec, DeviceSpec::Auto | DeviceSpec::Cpu),
        "ANYLORA_DEVICE: tests take cuda[:N] or an adapter such as vulkan[:N]"
    );
    Some(spec)
}

/// Opens the software adapter, or the one that `ANYLORA_DEVICE` names.
///
/// # Panics
/// Where there is none: such a machine can't say that the kernels work.
#[track_caller]
pub fn open(options: OpenOptions) -> Wgpu {
    let spec = named().filter(|spec| !matches!(spec, DeviceSpec::Cuda(_)));
    pollster::block_on(Wgpu::open(spec.unwrap_or(DeviceSpec::Software), options))
        .expect("an adapter (`scripts/setup` installs lavapipe)")
}

/// Those of [`gpus`] on which tests for every engine run: none where CUDA is tested alone.
pub fn tested_gpus() -> &'static [Wgpu] {
    if tests_adapters() { gpus() } else { &[] }
}

/// Whether tests for every engine run on wgpu too.
pub fn tests_adapters() -> bool {
    !matches!(named(), Some(DeviceSpec::Cuda(_)))
}

/// The software adapter with all it has and poisoned memory, changed by `change`.
pub fn wgpu_with(change: impl FnOnce(&mut OpenOptions)) -> Wgpu {
    let mut options = OpenOptions {
        poison: true,
        ..OpenOptions::default()
    };
    change(&mut options);
    open(options)
}

/// The adapter of [`open`] at every tier that it has (baseline; f16; subgroups; both) with poisoned memory, and once
/// more with bounds checks. Opened once in a process.
pub fn gpus() -> &'static [Wgpu] {
    static GPUS: LazyLock<Vec<Wgpu>> = LazyLock::new(|| {
        let full = wgpu_with(|_| {});
        let mut gpus = Vec::new();
        for (f16, subgroups) in [(false, false), (true, false), (false, true)] {
            let tier = Tier {
                f16,
                bf16: false,
                subgroups,
                cooperative_matrix: false,
            };
            if tier != full.caps().tier && tier.intersection(full.caps().tier) == tier {
                gpus.push(wgpu_with(|options| options.tier = Some(tier)));
            }
        }
        gpus.push(full);
        gpus.push(checked());
        gpus
    });
    &GPUS
}

/// The software adapter with all it has, poisoned memory, and kernels compiled with bounds, loop and division checks.
pub fn checked() -> Wgpu {
    wgpu_with(|options| options.checked = true)
}

/// The software adapter with at most `max_binding_bytes` in one binding, so that small tensors are split. Opened
/// once a limit in a process.
pub fn low_binding(max_binding_bytes: u64) -> Wgpu {
    static OPENED: Mutex<Vec<(u64, Wgpu)>> = Mutex::new(Vec::new());
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, gpu)) = opened.iter().find(|(limit, _)| *limit == max_binding_bytes) {
        return gpu.clone();
    }
    let gpu = wgpu_with(|options| options.max_binding_bytes = Some(max_binding_bytes));
    opened.push((max_binding_bytes, gpu.clone()));
    gpu
}

/// The CPU engine.
pub fn cpu() -> Cpu {
    Cpu::new(None)
}

/// The first NVIDIA GPU with poisoned memory, where CUDA finds one, or the one that `ANYLORA_DEVICE` names; with the feature
/// `emulator`, its kernels on the host. Opened once in a process.
#[cfg(feature = "cuda")]
pub fn cuda() -> Option<&'static anylora_engine_cuda::Cuda> {
    static GPU: LazyLock<Option<anylora_engine_cuda::Cuda>> = LazyLock::new(new_cuda);
    GPU.as_ref()
}

/// As [`cuda`], opened anew: for a test that looks at the ledger.
#[cfg(feature = "cuda")]
pub fn new_cuda() -> Option<anylora_engine_cuda::Cuda> {
    use anylora_engine_cuda::{Cuda, OpenOptions};
    let options = OpenOptions {
        poison: true,
        ..OpenOptions::default()
    };
    #[cfg(feature = "emulator")]
    {
        // The build folder's, beside `debug/deps`, in which the test is.
        let program = std::env::current_exe().expect("a running program");
        let target = program.ancestors().nth(3).expect("a build folder");
        Some(Cuda::emulated(&target.join("tmp"), true, options).expect("a folder that can be written"))
    }
    #[cfg(not(feature = "emulator"))]
    match named() {
        None => Cuda::open(None, options).ok(),
        Some(DeviceSpec::Cuda(index)) => {
            Some(Cuda::open(index, options).unwrap_or_else(|error| panic!("{error}")))
        }
        Some(_) => None,
    }
}

/// The types in which a device stores activations.
pub fn activations<B: Backend>(device: &B) -> Vec<DType> {
    let mut dtypes = vec![DType::F32, DType::F16, DType::BF16];
    dtypes.retain(|&dtype| device.caps().has_activation(dtype));
    dtypes
}

/// Says on which device a test failed: a panic's own text names the values.
pub struct Scope(String);

impl Scope {
    /// From here on, a panic is on this device.
    pub fn new<B: Backend>(device: &B, act: DType) -> Self {
        Self(format!(
            "{} {}, {act} activations",
            device.info().engine,
            device.caps().tier
        ))
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("on {}", self.0);
        }
    }
}

/// `on_every_device!(|device, act| test(device, act))`: on the CPU engine and on every GPU of [`crate::on_gpus!`], in every
/// activation type that each has. `test` is generic over the backend.
#[macro_export]
macro_rules! on_every_device {
    (|$device:ident, $act:ident| $test:expr) => {{
        #[cfg(not(feature = "emulator"))]
        {
            let $device = &$crate::cpu();
            for $act in $crate::activations($device) {
                let _scope = $crate::Scope::new($device, $act);
                $test;
            }
        }
        $crate::on_every_gpu!(|$device, $act| $test);
    }};
}

/// As [`on_every_device!`], without the CPU engine.
#[macro_export]
macro_rules! on_every_gpu {
    (|$device:ident, $act:ident| $test:expr) => {{
        $crate::on_gpus!(|$device| {
            for $act in $crate::activations($device) {
                let _scope = $crate::Scope::new($device, $act);
                $test;
            }
        });
    }};
}

/// `on_gpus!(|gpu| test(gpu))`: on every one of [`tested_gpus`], and on the NVIDIA GPU where tests are built with CUDA and find
/// one. With the feature `emulator` CUDA's kernels run on the host, and nothing else does.
#[macro_export]
macro_rules! on_gpus {
    (|$gpu:ident| $test:expr) => {{
        #[cfg(not(feature = "emulator"))]
        for $gpu in $crate::tested_gpus() {
            $test;
        }
        #[cfg(feature = "cuda")]
        if let Some($gpu) = $crate::cuda() {
            $test;
        }
    }};
}

/// As [`on_every_device!`], on the fewest devices that compile every variant of a kernel that has none for subgroups:
/// the CPU engine, the baseline device with f32, and the device with all features with f16, where it has that.
#[macro_export]
macro_rules! on_each_activation {
    (|$device:ident, $act:ident| $test:expr) => {{
        #[cfg(not(feature = "emulator"))]
        {
            let ($device, $act) = (&$crate::cpu(), anylora_engine::DType::F32);
            let _scope = $crate::Scope::new($device, $act);
            $test;
        }
        #[cfg(feature = "cuda")]
        if let Some($device) = $crate::cuda() {
            for $act in $crate::activations($device) {
                let _scope = $crate::Scope::new($device, $act);
                $test;
            }
        }
        #[cfg(not(feature = "emulator"))]
        for ($device, $act) in $crate::each_activation() {
            let _scope = $crate::Scope::new($device, $act);
            $test;
        }
    }};
}

/// The devices of [`on_each_activation!`], without the CPU engine.
pub fn each_activation() -> Vec<(&'static Wgpu, DType)> {
    // The last one is the device with all features once more, checked.
    let (Some(first), Some(full)) = (tested_gpus().first(), tested_gpus().iter().rev().nth(1)) else {
        return Vec::new();
    };
    let mut devices = vec![(first, DType::F32), (full, DType::F16)];
    devices.retain(|(gpu, act)| gpu.caps().has_activation(*act));
    devices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tier_is_there_once_and_the_last_is_checked() {
        let tiers: Vec<String> = gpus().iter().map(|gpu| gpu.caps().tier.to_string()).collect();
        let (checked, tiers) = tiers.split_last().expect("a device");
        assert_eq!(tiers[0], "baseline");
        assert_eq!(&tiers[tiers.len() - 1], checked);
        let mut distinct = tiers.to_vec();
        distinct.dedup();
        assert_eq!(distinct, tiers);
        println!("{tiers:?}");
    }
}
