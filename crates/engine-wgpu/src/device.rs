//! The opened device: what it may do, its queue, its memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anylora_engine::{Caps, DeviceInfo, DeviceKind, DeviceSpec, Ledger, Result, Tier};

use crate::context::Constants;
use crate::faults::Faults;
use crate::matrix::{self, Matrix};
use crate::pipelines::Pipelines;
#[cfg(not(target_arch = "wasm32"))]
use crate::poller::Poller;
use crate::pool::Pool;
use crate::recorder::Recorder;
use crate::{OpenError, adapters};

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Use at most this tier. By default all that the adapter has but cooperative matrices, which are
    /// experimental in wgpu and used only where they are asked for.
    pub tier: Option<Tier>,
    /// Open with a lower limit on bindings, to test how tensors above it are split.
    pub max_binding_bytes: Option<u64>,
    /// Refuse to hold more than this many bytes at once.
    pub memory_limit: Option<u64>,
    /// Fill memory with 0xFF bytes (NaN in every float type) when it is handed out, so that a test sees what reads
    /// it before it is written.
    pub poison: bool,
    /// Compile kernels with wgpu's bounds, loop and division checks, for tests. Kernels guard their own indices.
    pub checked: bool,
    /// Run the kernels of cooperative matrices of this size (8 or 16), for tests of their indexing where no device has
    /// them: the matrices' own operations are then plain arithmetic. With another size, or without f16, there are none.
    pub emulated_matrix: Option<u32>,
}

/// A GPU, or a software one. A clone is the same device.
#[derive(Clone)]
pub struct Wgpu(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    /// First, so that the thread has ended before the device goes.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) poller: Poller,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) info: DeviceInfo,
    pub(crate) caps: Caps,
    pub(crate) limits: wgpu::Limits,
    /// Invocations of a subgroup, where it is the same for all kernels.
    pub(crate) subgroup_size: Option<u32>,
    /// What kernels of cooperative matrices run on, where they may.
    pub(crate) matrix: Option<Matrix>,
    pub(crate) options: OpenOptions,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Arc<Faults>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) recorder: Mutex<Recorder>,
    pub(crate) pipelines: Pipelines,
    pub(crate) constants: Constants,
    /// Of the device's own memory, taken by opening it. Vulkan tells, on hardware.
    pub(crate) driver_bytes: Option<u64>,
}

impl Wgpu {
    /// Opens the device that `spec` means, and decides what its kernels may use.
    ///
    /// # Errors
    /// [`OpenError`]; for `auto` without a hardware GPU [`OpenError::NoHardware`].
    pub async fn open(spec: DeviceSpec, options: OpenOptions) -> std::result::Result<Self, OpenError> {
        let adapter = adapters::choose(spec).await?;
        let info = adapters::info(&adapter);
        let wanted = Tier {
            f16: true,
            bf16: false,
            subgroups: true,
            cooperative_matrix: false,
        };
        let tier = adapters::tier(&adapter).intersection(options.tier.unwrap_or(wanted));
        let limits = limits(&adapter.limits(), tier, &options);
        let subgroup_size = adapters::subgroup_size(&adapter).filter(|_| tier.subgroups);
        let matrix = match options.emulated_matrix {
            Some(size) => Matrix::emulated(size).filter(|_| tier.f16),
            None => matrix::of(&adapter).filter(|_| tier.cooperative_matrix && tier.f16),
        };
        let refused = |reason: String| OpenError::Request {
            name: info.name.clone(),
            reason,
        };
        let used_before = adapters::used_bytes(&adapter);
        let (device, queue) = adapter
            .request_device(&wgpu::DeviceDescriptor {
                label: Some("anylora"),
                required_features: features(tier),
                required_limits: limits.clone(),
                experimental_features: experimental(tier),
                memory_hints: wgpu::MemoryHints::Performance,
                trace: wgpu::Trace::Off,
            })
            .await
            .map_err(|error| refused(error.to_string()))?;

        let faults = Arc::new(Faults::default());
        let handler = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| handler.record(&error)));
        let handler = Arc::clone(&faults);
        device
            .set_device_lost_callback(move |reason, message| handler.lose(format!("{reason:?}: {message}")));

        let caps = Caps {
            tier,
            max_binding_bytes: limits.max_storage_buffer_binding_size,
            max_buffer_bytes: limits.max_buffer_size,
            binding_alignment: u64::from(limits.min_storage_buffer_offset_alignment),
            ggml: false,
        };
        let inner = Inner {
            #[cfg(not(target_arch = "wasm32"))]
            poller: Poller::new(device.clone(), Arc::clone(&faults))
                .map_err(|error| refused(error.to_string()))?,
            recorder: Mutex::new(Recorder::new(&device)),
            constants: Constants::new(&device),
            pipelines: Pipelines::default(),
            pool: Arc::default(),
            driver_bytes: adapters::used_bytes(&adapter)
                .zip(used_before)
                .map(|(after, before)| after.saturating_sub(before)),
            ledger: Ledger::with_limit(options.memory_limit),
            device,
            queue,
            info,
            caps,
            limits,
            subgroup_size,
            matrix,
            options,
            faults,
        };
        #[cfg_attr(
            target_arch = "wasm32",
            expect(
                clippy::arc_with_non_send_sync,
                reason = "a browser's device stays on one thread"
            )
        )]
        let inner = Arc::new(inner);
        Ok(Self(inner))
    }

    /// Bytes of device memory that tensors and the pool hold. Never more than the ledger's highest peak; the
    /// engine's own few hundred KiB (parameters, tables) and readback's staging memory come on top.
    pub fn reserved_bytes(&self) -> u64 {
        self.0.pool.held_bytes()
    }

    /// Waits until the device is lost, and says why: for callers who want to know of it between calls.
    pub fn lost(&self) -> impl Future<Output = String> + 'static {
        let lost = self.0.faults.lost();
        async move { lost.await.unwrap_or_else(|_| "it was closed".to_owned()) }
    }

    /// Whether a CPU plays the GPU: what is fast there differs, so variants are chosen by it too.
    pub fn is_software(&self) -> bool {
        self.0.info.kind == DeviceKind::Software
    }

    /// Destroys the device under everybody who uses it, as a driver reset does; for tests. Every call then answers
    /// [`anylora_engine::Error::DeviceLost`].
    pub fn destroy(&self) {
        self.0.faults.lose("it was destroyed");
        self.recorder().discard();
        self.0.device.destroy();
    }

    /// Recorded work, for the duration of one call.
    pub(crate) fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.0.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What went wrong since the last check.
    pub(crate) fn check(&self) -> Result<()> {
        self.0.faults.check(&self.0.ledger)
    }
}

impl std::fmt::Debug for Wgpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Wgpu({}, {}, {})",
            self.0.info.name, self.0.info.backend, self.0.caps.tier
        )
    }
}

fn features(tier: Tier) -> wgpu::Features {
    let mut features = wgpu::Features::empty();
    features.set(wgpu::Features::SHADER_F16, tier.f16);
    features.set(wgpu::Features::SUBGROUP, tier.subgroups);
    features.set(
        wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX,
        tier.cooperative_matrix,
    );
    features
}

fn experimental(tier: Tier) -> wgpu::ExperimentalFeatures {
    if tier.cooperative_matrix {
        // SAFETY: asks to know that wgpu's cooperative matrices may have bugs; the caller named that tier itself.
        unsafe { wgpu::ExperimentalFeatures::enabled() }
    } else {
        wgpu::ExperimentalFeatures::disabled()
    }
}

/// WebGPU's defaults, with the adapter's own sizes of buffers and bindings, and above the baseline its workgroups.
/// Alignments stay WebGPU's 256: what binds on one device binds on all.
fn limits(adapter: &wgpu::Limits, tier: Tier, options: &OpenOptions) -> wgpu::Limits {
    let defaults = wgpu::Limits::default();
    let max_buffer_size = adapter.max_buffer_size / 256 * 256;
    let binding = adapter.max_storage_buffer_binding_size.min(max_buffer_size);
    let binding = binding.min(options.max_binding_bytes.unwrap_or(u64::MAX));
    let mut limits = wgpu::Limits {
        max_buffer_size,
        max_storage_buffer_binding_size: (binding / 256 * 256).max(256),
        ..defaults
    };
    if tier != Tier::BASELINE {
        limits.max_compute_workgroup_storage_size = adapter.max_compute_workgroup_storage_size;
        limits.max_compute_invocations_per_workgroup = adapter.max_compute_invocations_per_workgroup;
        limits.max_compute_workgroup_size_x = adapter.max_compute_workgroup_size_x;
        limits.max_compute_workgroup_size_y = adapter.max_compute_workgroup_size_y;
        limits.max_compute_workgroup_size_z = adapter.max_compute_workgroup_size_z;
    }
    limits
}
