//! The opened device, and its memory.

use std::ops::Range;
use std::sync::Arc;

use anylora_engine::{Caps, DeviceInfo, Error, Ledger, Result, Tier};
use anylora_quant::DYNAMIC_MAP_SIGNED;

use crate::driver::{Driver, Gpu};
use crate::launch::Address;
use crate::{OpenError, gpu};

/// How to open a device.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Refuse to hold more than this many bytes at once.
    pub memory_limit: Option<u64>,
    /// Fill memory with 0xFF bytes (NaN in every float type) when it is handed out, so that a test sees what reads
    /// it before it is written.
    pub poison: bool,
}

/// An NVIDIA GPU. A clone is the same device.
#[derive(Clone)]
pub struct Cuda(Arc<Inner>);

struct Inner {
    info: DeviceInfo,
    caps: Caps,
    ledger: Ledger,
    poison: bool,
    driver: Box<dyn Driver>,
    /// The tables of 4-bit weights, by the 16 levels: NF4's and FP4's.
    tables: std::sync::Mutex<Vec<([f32; 16], u64)>>,
}

/// No limit on what is bound.
const CAPS: Caps = Caps {
    tier: Cuda::TIER,
    ..Caps::HOST
};

impl Cuda {
    /// What every device of this engine has: activations of both 16-bit types, warps, tensor cores.
    pub const TIER: Tier = Tier {
        f16: true,
        bf16: true,
        subgroups: true,
        cooperative_matrix: true,
    };

    /// Opens the n-th GPU, or the first.
    ///
    /// # Errors
    /// [`OpenError`]: what is missing, with a hint.
    pub fn open(index: Option<usize>, options: OpenOptions) -> std::result::Result<Self, OpenError> {
        let report = gpu::find(index)?;
        let driver = Gpu::open(&report)?;
        Ok(Self::with(report.info, Box::new(driver), &options))
    }

    /// The kernels on the host, compiled by g++ and kept in `folder`; for tests. Blocks, and a block's threads, take their
    /// turns in ascending order, or in descending order.
    ///
    /// # Errors
    /// [`OpenError::Request`] where the folder can't be written.
    #[cfg(feature = "emulator")]
    pub fn emulated(
        folder: &std::path::Path,
        descending: bool,
        options: OpenOptions,
    ) -> std::result::Result<Self, OpenError> {
        let info = DeviceInfo {
            engine: "cuda",
            name: "emulator".to_owned(),
            backend: "cuda".to_owned(),
            driver: "g++".to_owned(),
            kind: anylora_engine::DeviceKind::Software,
        };
        let driver =
            crate::emulator::Emulator::new(folder, descending).map_err(|error| OpenError::Request {
                name: info.name.clone(),
                reason: error.to_string(),
            })?;
        Ok(Self::with(info, Box::new(driver), &options))
    }

    fn with(info: DeviceInfo, driver: Box<dyn Driver>, options: &OpenOptions) -> Self {
        Self(Arc::new(Inner {
            info,
            caps: CAPS,
            ledger: Ledger::with_limit(options.memory_limit),
            poison: options.poison,
            driver,
            tables: std::sync::Mutex::default(),
        }))
    }

    /// The most bytes of device memory that tensors held at once, as the driver's pool counted them since
    /// [`Cuda::reset_pool_peak`].
    ///
    /// # Errors
    /// Device errors.
    pub fn pool_peak_bytes(&self) -> Result<u64> {
        self.0.driver.pool_peak(false)
    }

    /// Starts a new peak of the pool from what is in use now.
    ///
    /// # Errors
    /// Device errors.
    pub fn reset_pool_peak(&self) -> Result<()> {
        self.0.driver.pool_peak(true).map(|_| ())
    }

    pub(crate) fn device_info(&self) -> &DeviceInfo {
        &self.0.info
    }

    pub(crate) fn device_caps(&self) -> &Caps {
        &self.0.caps
    }

    pub(crate) fn books(&self) -> &Ledger {
        &self.0.ledger
    }

    pub(crate) fn driver(&self) -> &dyn Driver {
        &*self.0.driver
    }

    pub(crate) fn allocate_bytes(&self, bytes: u64) -> Result<Storage> {
        let address = self.driver().allocate(bytes)?;
        let address = address.ok_or_else(|| self.books().refused(bytes, "the CUDA driver has no more"))?;
        let storage = Storage {
            device: self.clone(),
            address,
            bytes,
        };
        if self.0.poison {
            self.driver().set(address, 0xFF, bytes)?;
        }
        Ok(storage)
    }

    pub(crate) async fn read_bytes(&self, storage: &Storage, range: Range<u64>) -> Result<Vec<u8>> {
        let place = storage.address + range.start..storage.address + range.end;
        self.driver()
            .download(place)?
            .await
            .unwrap_or_else(|_| Err(ended()))
    }

    pub(crate) async fn wait_for_all(&self) -> Result<()> {
        self.driver()
            .synchronize()?
            .await
            .unwrap_or_else(|_| Err(ended()))
    }

    /// The tables of a 4-bit weight: its 16 levels, and the dynamic map of double quantization. About 1 KiB that is
    /// uploaded once, outside of the ledger.
    pub(crate) fn tables(&self, levels: &[f32; 16]) -> Result<Address> {
        let mut tables = self
            .0
            .tables
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, address)) = tables.iter().find(|(known, _)| known == levels) {
            return Ok(Address(*address));
        }
        let values: Vec<f32> = levels.iter().chain(&DYNAMIC_MAP_SIGNED).copied().collect();
        let bytes: &[u8] = bytemuck::cast_slice(&values);
        let address = self.driver().allocate(bytes.len() as u64)?;
        let address = address.ok_or_else(|| {
            self.books()
                .refused(bytes.len() as u64, "the CUDA driver has no more")
        })?;
        self.driver().upload(address, bytes)?;
        tables.push((*levels, address));
        Ok(Address(address))
    }
}

fn ended() -> Error {
    Error::DeviceLost("the thread that waits for it has ended".to_owned())
}

impl Drop for Inner {
    fn drop(&mut self) {
        let tables = self
            .tables
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for (_, address) in tables.drain(..) {
            self.driver.free(address, 272 * 4);
        }
    }
}

impl std::fmt::Debug for Cuda {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cuda({}, {})", self.0.info.name, self.0.caps.tier)
    }
}

/// One allocation. Dropping it gives the memory back, once what is queued has used it.
pub struct Storage {
    device: Cuda,
    pub(crate) address: u64,
    bytes: u64,
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.device.driver().free(self.address, self.bytes);
    }
}
