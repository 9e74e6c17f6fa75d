//! Which GPUs are here. No call goes to the driver before its library was found and its version checked.

use std::sync::OnceLock;

use anylora_engine::{DeviceInfo, DeviceKind};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::OpenError;

/// CUDA 12.0: the oldest driver that has every function that cudarc's `cuda-12000` calls.
const OLDEST_DRIVER: i32 = 12_000;

/// A GPU that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuReport {
    /// N of `cuda:N`.
    pub index: usize,
    /// Name and driver.
    pub info: DeviceInfo,
    /// Major and minor compute capability.
    pub capability: (i32, i32),
    /// All of its memory.
    pub memory_bytes: u64,
}

/// The GPUs that the engine runs on, by their number.
///
/// # Errors
/// Why there are none: [`OpenError::NoDriver`], [`OpenError::OldDriver`], [`OpenError::NoGpu`].
pub fn gpus() -> Result<Vec<GpuReport>, OpenError> {
    let version = driver_version()?;
    let count = count()?;
    let all = (0..count).filter_map(|index| describe(index, version).ok());
    Ok(all.filter(|gpu| gpu.capability >= OLDEST_GPU).collect())
}

/// What the engine calls of libcuda: cudarc panics where it calls what is not there.
const FUNCTIONS: [&str; 37] = [
    "cuCtxSetCurrent",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetName",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceTotalMem_v2",
    "cuDriverGetVersion",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuInit",
    "cuLaunchKernel",
    "cuMemAllocFromPoolAsync",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemHostAlloc",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolGetAttribute",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemsetD8Async",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuStreamCreate",
    "cuStreamDestroy_v2",
    "cuStreamSynchronize",
];

/// Ampere: bf16 on tensor cores.
const OLDEST_GPU: (i32, i32) = (8, 0);

/// The GPU with this number, or the first that the engine runs on.
pub(crate) fn find(index: Option<usize>) -> Result<GpuReport, OpenError> {
    let version = driver_version()?;
    let count = count()?;
    let Some(index) = index else {
        // Where none will do, the first says why.
        return (1..count).fold(usable(0, version), |found, index| {
            found.or_else(|why| usable(index, version).map_err(|_| why))
        });
    };
    if index >= count {
        let visible = visible();
        return Err(OpenError::NoSuchIndex {
            index,
            count,
            visible,
        });
    }
    usable(index, version)
}

/// The GPU, if the engine runs on it.
fn usable(index: usize, version: i32) -> Result<GpuReport, OpenError> {
    let gpu = describe(index, version).map_err(|error| OpenError::Request {
        name: format!("cuda:{index}"),
        reason: reason(error),
    })?;
    if gpu.capability < OLDEST_GPU {
        return Err(OpenError::OldGpu {
            name: gpu.info.name,
            capability: gpu.capability,
        });
    }
    Ok(gpu)
}

/// What the driver calls an error, and what it says of it.
pub(crate) fn reason(error: DriverError) -> String {
    let text = |text: Result<&std::ffi::CStr, _>| text.map(|text| text.to_string_lossy().into_owned());
    match (text(error.error_name()), text(error.error_string())) {
        (Ok(name), Ok(description)) => format!("{name}: {description}"),
        _ => format!("{:?}", error.0),
    }
}

/// Looks for libcuda, and asks for its version and for what it has.
fn driver_version() -> Result<i32, OpenError> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: the driver library's initialisers have no preconditions.
    if !*FOUND.get_or_init(|| unsafe { sys::is_culib_present() }) {
        return Err(OpenError::NoDriver);
    }
    has(&["cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString"])?;
    let mut found = 0;
    // SAFETY: the library has this function, which may be called before anything else.
    let answer = unsafe { sys::cuDriverGetVersion(&mut found) };
    answer
        .result()
        .map_err(|error| OpenError::BrokenDriver(format!("cuDriverGetVersion: {}", reason(error))))?;
    if found < OLDEST_DRIVER {
        return Err(OpenError::OldDriver {
            found,
            wanted: OLDEST_DRIVER,
        });
    }
    has(&FUNCTIONS)?;
    Ok(found)
}

/// That libcuda has these functions.
fn has(functions: &[&str]) -> Result<(), OpenError> {
    // SAFETY: the library was found; nothing is called, so that the type doesn't matter.
    let missing = functions.iter().find(|name| unsafe {
        let library = sys::culib();
        library.get::<unsafe extern "C" fn()>(name.as_bytes()).is_err()
    });
    missing.map_or(Ok(()), |name| {
        Err(OpenError::BrokenDriver(format!("its library has no {name}")))
    })
}

fn count() -> Result<usize, OpenError> {
    let none = |reason| OpenError::NoGpu {
        reason,
        visible: visible(),
    };
    let refused = |error| none(reason(error));
    result::init().map_err(refused)?;
    let count = result::device::get_count().map_err(refused)?;
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(none("it counts 0".to_owned())),
    }
}

/// Which GPUs the driver was told to show.
fn visible() -> Option<String> {
    std::env::var_os("CUDA_VISIBLE_DEVICES").map(|visible| visible.to_string_lossy().into_owned())
}

fn describe(index: usize, version: i32) -> Result<GpuReport, DriverError> {
    let device = result::device::get(i32::try_from(index).unwrap_or(i32::MAX))?;
    // SAFETY: the device was returned by the driver.
    let attribute = |attribute| unsafe { result::device::get_attribute(device, attribute) };
    let capability = (
        attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    );
    let integrated = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_INTEGRATED)? != 0;
    // SAFETY: the device was returned by the driver.
    let memory = unsafe { result::device::total_mem(device) }?;
    Ok(GpuReport {
        index,
        info: DeviceInfo {
            engine: "cuda",
            name: result::device::get_name(device)?,
            backend: "cuda".to_owned(),
            driver: format!("CUDA {}.{}", version / 1000, version % 1000 / 10),
            kind: if integrated {
                DeviceKind::Integrated
            } else {
                DeviceKind::Discrete
            },
        },
        capability,
        memory_bytes: memory as u64,
    })
}
