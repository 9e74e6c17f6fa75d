//! What adapters are here, and which one a [`DeviceSpec`] means.

use anylora_engine::{DeviceInfo, DeviceKind, DeviceSpec, Tier};

use crate::{OpenError, matrix};

/// One adapter, as `anylora devices` shows it.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// What opens it: `vulkan:0`, ... In a browser, `auto`.
    pub spec: DeviceSpec,
    /// Its name, API, driver and kind.
    pub info: DeviceInfo,
    /// All that it has; cooperative matrices are used only where [`crate::OpenOptions::tier`] asks for them.
    pub tier: Tier,
    /// The most bytes that one binding spans.
    pub max_binding_bytes: u64,
    /// The most bytes that one buffer holds.
    pub max_buffer_bytes: u64,
    /// Memory that a workgroup shares.
    pub workgroup_memory_bytes: u32,
    /// Invocations in a workgroup.
    pub max_invocations: u32,
    /// The device's own memory (or the largest heap, where it shares the host's). The API doesn't always tell.
    pub memory_bytes: Option<u64>,
}

/// Every adapter of every API, in the order in which `vulkan:N` and the like number them.
pub async fn adapters() -> Vec<AdapterReport> {
    let mut counts = [0; 3];
    let mut reports = Vec::new();
    for adapter in enumerate(&instance()).await {
        let spec = match adapter.get_info().backend {
            wgpu::Backend::Vulkan => DeviceSpec::Vulkan(Some(next(&mut counts[0]))),
            wgpu::Backend::Metal => DeviceSpec::Metal(Some(next(&mut counts[1]))),
            wgpu::Backend::Dx12 => DeviceSpec::Dx12(Some(next(&mut counts[2]))),
            wgpu::Backend::Noop | wgpu::Backend::Gl | wgpu::Backend::BrowserWebGpu => DeviceSpec::Auto,
        };
        let limits = adapter.limits();
        reports.push(AdapterReport {
            spec,
            info: info(&adapter),
            tier: tier(&adapter),
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            workgroup_memory_bytes: limits.max_compute_workgroup_storage_size,
            max_invocations: limits.max_compute_invocations_per_workgroup,
            memory_bytes: memory_bytes(&adapter),
        });
    }
    reports
}

fn next(count: &mut usize) -> usize {
    *count += 1;
    *count - 1
}

/// wgpu with the APIs compiled in. `WGPU_VALIDATION=1` and `WGPU_DEBUG=1` turn on the API's own layers.
pub(crate) fn instance() -> wgpu::Instance {
    wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends: wgpu::Backends::PRIMARY,
        flags: wgpu::InstanceFlags::empty().with_env(),
        // Drivers otherwise hand out memory that they don't have and page it over the bus.
        memory_budget_thresholds: wgpu::MemoryBudgetThresholds {
            for_resource_creation: Some(97),
            for_device_loss: None,
        },
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    })
}

/// All adapters of all APIs. A browser has one, or none.
async fn enumerate(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    #[cfg(not(target_arch = "wasm32"))]
    return instance.enumerate_adapters(wgpu::Backends::PRIMARY).await;
    #[cfg(target_arch = "wasm32")]
    return request(instance, false).await.into_iter().collect();
}

/// A browser chooses the adapter itself.
#[cfg(target_arch = "wasm32")]
async fn request(instance: &wgpu::Instance, force_fallback_adapter: bool) -> Option<wgpu::Adapter> {
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        force_fallback_adapter,
        ..Default::default()
    };
    instance.request_adapter(&options).await.ok()
}

/// The adapter that `spec` means.
pub(crate) async fn choose(spec: DeviceSpec) -> Result<wgpu::Adapter, OpenError> {
    let instance = instance();
    let mut all = enumerate(&instance).await;
    let (backend, name, index) = match spec {
        DeviceSpec::Cpu => return Err(OpenError::Cpu),
        DeviceSpec::Cuda(_) => return Err(OpenError::Cuda),
        DeviceSpec::Auto => return best(all).ok_or(OpenError::NoHardware),
        DeviceSpec::Software => {
            if let Some(place) = all.iter().position(is_software) {
                return Ok(all.swap_remove(place));
            }
            #[cfg(target_arch = "wasm32")]
            if let Some(adapter) = request(&instance, true).await {
                return Ok(adapter);
            }
            return Err(OpenError::NoSoftware);
        }
        DeviceSpec::Vulkan(index) => (wgpu::Backend::Vulkan, "vulkan", index),
        DeviceSpec::Metal(index) => (wgpu::Backend::Metal, "metal", index),
        DeviceSpec::Dx12(index) => (wgpu::Backend::Dx12, "dx12", index),
    };
    all.retain(|adapter| adapter.get_info().backend == backend);
    let count = all.len();
    match index {
        _ if count == 0 => Err(OpenError::NoAdapter { backend: name }),
        Some(index) if index < count => Ok(all.swap_remove(index)),
        Some(index) => Err(OpenError::NoSuchIndex {
            backend: name,
            index,
            count,
        }),
        None => best(all).ok_or(OpenError::OnlySoftware { backend: name }),
    }
}

/// The best hardware adapter; of equals, the first.
fn best(all: Vec<wgpu::Adapter>) -> Option<wgpu::Adapter> {
    all.into_iter()
        .filter(|adapter| !is_software(adapter))
        .min_by_key(kind)
}

fn is_software(adapter: &wgpu::Adapter) -> bool {
    kind(adapter) == DeviceKind::Software
}

fn kind(adapter: &wgpu::Adapter) -> DeviceKind {
    match adapter.get_info().device_type {
        wgpu::DeviceType::DiscreteGpu => DeviceKind::Discrete,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::Integrated,
        wgpu::DeviceType::Other | wgpu::DeviceType::VirtualGpu => DeviceKind::Other,
        wgpu::DeviceType::Cpu => DeviceKind::Software,
    }
}

pub(crate) fn info(adapter: &wgpu::Adapter) -> DeviceInfo {
    let wgpu::AdapterInfo {
        name,
        backend,
        driver,
        driver_info,
        ..
    } = adapter.get_info();
    let backend = match backend {
        wgpu::Backend::BrowserWebGpu => "webgpu".to_owned(),
        other => other.to_str().to_owned(),
    };
    let driver = format!("{driver} {driver_info}").trim().to_owned();
    DeviceInfo {
        engine: "wgpu",
        name,
        backend,
        driver,
        kind: kind(adapter),
    }
}

/// All that the adapter has.
pub(crate) fn tier(adapter: &wgpu::Adapter) -> Tier {
    let features = adapter.features();
    Tier {
        f16: features.contains(wgpu::Features::SHADER_F16),
        bf16: false,
        subgroups: features.contains(wgpu::Features::SUBGROUP),
        cooperative_matrix: matrix::of(adapter).is_some(),
    }
}

/// Invocations of a subgroup, where the adapter has one size only.
pub(crate) fn subgroup_size(adapter: &wgpu::Adapter) -> Option<u32> {
    let info = adapter.get_info();
    (info.subgroup_min_size == info.subgroup_max_size).then_some(info.subgroup_min_size)
}

/// The largest heap that belongs to the device. wgpu doesn't tell; under Vulkan the layer below does.
#[cfg(not(any(target_arch = "wasm32", target_vendor = "apple")))]
fn memory_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    // SAFETY: the adapter's handles are used for one query while it is alive, and destroyed by nobody here.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    // SAFETY: the physical device was enumerated from this instance.
    let memory = unsafe {
        let instance = vulkan.shared_instance().raw_instance();
        instance.get_physical_device_memory_properties(vulkan.raw_physical_device())
    };
    // VK_MEMORY_HEAP_DEVICE_LOCAL_BIT is 1.
    memory
        .memory_heaps_as_slice()
        .iter()
        .filter(|heap| heap.flags.as_raw() & 1 != 0)
        .map(|heap| heap.size)
        .max()
}

#[cfg(any(target_arch = "wasm32", target_vendor = "apple"))]
fn memory_bytes(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}

/// Bytes that this process uses of the device's own heaps, driver included, as Vulkan's VK_EXT_memory_budget tells. A
/// software adapter has none of its own.
#[cfg(not(any(target_arch = "wasm32", target_vendor = "apple")))]
pub(crate) fn used_bytes(adapter: &wgpu::Adapter) -> Option<u64> {
    if is_software(adapter) {
        return None;
    }
    // SAFETY: as in `memory_bytes`.
    let vulkan = unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }?;
    let supported = vulkan
        .physical_device_capabilities()
        .supports_extension(ash::ext::memory_budget::NAME);
    let instance = vulkan.shared_instance();
    if !supported || instance.instance_api_version() < ash::vk::API_VERSION_1_1 {
        return None;
    }
    let mut budget = ash::vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let mut memory = ash::vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
    // SAFETY: the physical device was enumerated from this instance, of Vulkan 1.1, and has the extension.
    unsafe {
        instance
            .raw_instance()
            .get_physical_device_memory_properties2(vulkan.raw_physical_device(), &mut memory);
    }
    let heaps = memory.memory_properties;
    let heaps = heaps.memory_heaps_as_slice().iter();
    let used = heaps
        .zip(budget.heap_usage)
        .filter(|(heap, _)| heap.flags.contains(ash::vk::MemoryHeapFlags::DEVICE_LOCAL));
    Some(used.map(|(_, bytes)| bytes).sum())
}

#[cfg(any(target_arch = "wasm32", target_vendor = "apple"))]
pub(crate) fn used_bytes(_adapter: &wgpu::Adapter) -> Option<u64> {
    None
}
