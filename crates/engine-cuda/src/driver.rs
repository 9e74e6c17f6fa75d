//! The GPU itself: one stream, its memory pool, its modules.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anylora_engine::Error;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use futures_channel::oneshot;

use crate::OpenError;
use crate::compiler::Compiler;
use crate::gpu::{GpuReport, reason};
use crate::launch::{Arguments, Grid};
use crate::program::Program;
use crate::waiter::Waiter;

/// What runs kernels. Work is done in the order in which it was asked for.
pub(crate) trait Driver: Send + Sync {
    /// Memory without a value, and its address; `None` where there is no more.
    fn allocate(&self, bytes: u64) -> Result<Option<u64>, Error>;
    /// Gives it back, once what was asked for so far has used it.
    fn free(&self, address: u64, bytes: u64);
    /// Sets all bytes.
    fn set(&self, address: u64, value: u8, bytes: u64) -> Result<(), Error>;
    /// Copies from the host.
    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), Error>;
    /// Copies to the host.
    fn download(&self, range: Range<u64>) -> Result<oneshot::Receiver<Result<Vec<u8>, Error>>, Error>;
    /// Copies on the device.
    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<(), Error>;
    /// Runs a kernel.
    fn launch(
        &self,
        program: &Program,
        kernel: &str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), Error>;
    /// Waits for all.
    fn synchronize(&self) -> Result<oneshot::Receiver<Result<(), Error>>, Error>;
    /// The most bytes of the pool that were in use at once since `reset`; `None` where there is no pool.
    fn pool_peak(&self, reset: bool) -> Result<Option<u64>, Error>;
}

/// A GPU of NVIDIA's driver.
pub(crate) struct Gpu {
    /// First: it waits for what uses the rest.
    waiter: Waiter,
    raw: Arc<Raw>,
    compiler: Compiler,
    architecture: String,
    modules: Mutex<HashMap<Program, Module>>,
}

/// The driver's handles.
struct Raw {
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    pool: sys::CUmemoryPool,
}

// SAFETY: the driver's functions may be called from any thread; a handle is only a name for what it owns.
unsafe impl Send for Raw {}
// SAFETY: as above.
unsafe impl Sync for Raw {}

struct Module {
    handle: sys::CUmodule,
    functions: HashMap<String, sys::CUfunction>,
}

// SAFETY: as for `Raw`.
unsafe impl Send for Module {}

/// What the driver's errors mean. After most of them every later call fails too, since the context is lost.
fn error(error: DriverError) -> Error {
    use sys::CUresult as Code;
    match error.0 {
        Code::CUDA_ERROR_DEINITIALIZED
        | Code::CUDA_ERROR_DEVICE_UNAVAILABLE
        | Code::CUDA_ERROR_ECC_UNCORRECTABLE
        | Code::CUDA_ERROR_ILLEGAL_ADDRESS
        | Code::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | Code::CUDA_ERROR_MISALIGNED_ADDRESS
        | Code::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | Code::CUDA_ERROR_INVALID_PC
        | Code::CUDA_ERROR_HARDWARE_STACK_ERROR
        | Code::CUDA_ERROR_LAUNCH_FAILED
        | Code::CUDA_ERROR_LAUNCH_TIMEOUT
        | Code::CUDA_ERROR_CONTEXT_IS_DESTROYED => Error::DeviceLost(reason(error)),
        _ => Error::Device(reason(error)),
    }
}

impl Raw {
    /// Makes the context that of this thread.
    fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.map_err(error)
    }

    /// An event after all that was asked for.
    fn event(self: &Arc<Self>) -> Result<Event, Error> {
        self.enter()?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let handle = result::event::create(flags).map_err(error)?;
        let event = Event {
            handle,
            raw: Arc::clone(self),
        };
        // SAFETY: event and stream are alive, and of this context.
        unsafe { result::event::record(handle, self.stream) }.map_err(error)?;
        Ok(event)
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // Nobody is left who could be told of an error.
        // SAFETY: all that used the stream holds this, and is gone.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            let _ = result::stream::synchronize(self.stream);
            let _ = result::stream::destroy(self.stream);
            let _ = result::mem_pool::destroy(self.pool);
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// A place in the stream.
struct Event {
    handle: sys::CUevent,
    raw: Arc<Raw>,
}

// SAFETY: as for `Raw`.
unsafe impl Send for Event {}

impl Event {
    /// Waits until the stream is there.
    fn wait(&self) -> Result<(), Error> {
        self.raw.enter()?;
        // SAFETY: the event is alive.
        unsafe { result::event::synchronize(self.handle) }.map_err(error)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.raw.enter().is_ok() {
            // SAFETY: nobody uses it any more.
            let _ = unsafe { result::event::destroy(self.handle) };
        }
    }
}

/// Memory of the host that the GPU writes.
struct Pinned {
    address: *mut u8,
    bytes: usize,
    raw: Arc<Raw>,
}

// SAFETY: it is memory that nobody else knows.
unsafe impl Send for Pinned {}

impl Pinned {
    fn new(raw: &Arc<Raw>, bytes: usize) -> Result<Self, Error> {
        // SAFETY: the context is current; the driver answers with an error where it has no memory.
        let address = unsafe { result::malloc_host(bytes.max(1), 0) }.map_err(error)?;
        Ok(Self {
            address: address.cast(),
            bytes,
            raw: Arc::clone(raw),
        })
    }

    /// The content, once what writes it is done.
    fn to_vec(&self) -> Vec<u8> {
        // SAFETY: the driver gave as many bytes, and the copy into them has ended.
        unsafe { std::slice::from_raw_parts(self.address, self.bytes) }.to_vec()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.raw.enter().is_ok() {
            // SAFETY: it came from `malloc_host`, and nobody uses it any more.
            let _ = unsafe { result::free_host(self.address.cast()) };
        }
    }
}

impl Gpu {
    /// Opens it.
    pub(crate) fn open(report: &GpuReport) -> Result<Self, OpenError> {
        let compiler = Compiler::find().map_err(OpenError::NoCompiler)?;
        let (major, minor) = report.capability;
        let architecture = compiler.architecture(10 * major + minor).ok_or_else(|| {
            let (nvrtc_major, nvrtc_minor) = compiler.version();
            OpenError::NoCompiler(format!(
                "version {nvrtc_major}.{nvrtc_minor} knows no architecture up to {major}.{minor}"
            ))
        })?;
        let refused = |reason: String| OpenError::Request {
            name: report.info.name.clone(),
            reason,
        };
        let raw = open(report.index).map_err(|error| refused(reason(error)))?;
        let waiter = Waiter::new().map_err(|error| refused(error.to_string()))?;
        Ok(Self {
            waiter,
            raw: Arc::new(raw),
            compiler,
            architecture,
            modules: Mutex::default(),
        })
    }

    /// The kernel's function, compiled and loaded where it isn't yet.
    fn function(
        &self,
        modules: &mut MutexGuard<'_, HashMap<Program, Module>>,
        program: &Program,
        kernel: &str,
    ) -> Result<sys::CUfunction, Error> {
        if !modules.contains_key(program) {
            let image = self
                .compiler
                .compile(program, &self.architecture)
                .map_err(|error| Error::Device(error.to_string()))?;
            // SAFETY: NVRTC made the image; PTX ends with 0.
            let handle = unsafe { result::module::load_data(image.bytes.as_ptr().cast()) }.map_err(error)?;
            let functions = HashMap::new();
            modules.insert(program.clone(), Module { handle, functions });
        }
        let missing = || Error::Device(format!("{program} has no kernel {kernel}"));
        let module = modules.get_mut(program).ok_or_else(missing)?;
        if let Some(function) = module.functions.get(kernel) {
            return Ok(*function);
        }
        let name = CString::new(kernel).map_err(|_| missing())?;
        // SAFETY: the module is loaded and stays so.
        let function = unsafe { result::module::get_function(module.handle, name) }.map_err(error)?;
        module.functions.insert(kernel.to_owned(), function);
        Ok(function)
    }
}

/// Context, stream and a pool that keeps what it got.
fn open(index: usize) -> Result<Raw, DriverError> {
    let device = result::device::get(i32::try_from(index).unwrap_or(i32::MAX))?;
    // SAFETY: the device was returned by the driver, which was started when it was found.
    unsafe {
        let context = result::primary_ctx::retain(device)?;
        result::ctx::set_current(context)?;
        let stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
        let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
        properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
        properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
        properties.location.id = device;
        let pool = result::mem_pool::create(&properties)?;
        let mut keep = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut keep).cast())?;
        Ok(Raw {
            device,
            context,
            stream,
            pool,
        })
    }
}

impl Driver for Gpu {
    fn allocate(&self, bytes: u64) -> Result<Option<u64>, Error> {
        self.raw.enter()?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        // SAFETY: pool and stream are alive, and of the current context.
        match unsafe { result::mem_pool::alloc_async(self.raw.pool, bytes, self.raw.stream) } {
            Ok(address) => Ok(Some(address)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            Err(other) => Err(error(other)),
        }
    }

    fn free(&self, address: u64, _bytes: u64) {
        if self.raw.enter().is_ok() {
            // Nobody can be told of an error; a lost device shows in the next call.
            // SAFETY: it came from `allocate`, and what is queued so far is all that uses it.
            let _ = unsafe { result::free_async(address, self.raw.stream) };
        }
    }

    fn set(&self, address: u64, value: u8, bytes: u64) -> Result<(), Error> {
        self.raw.enter()?;
        // SAFETY: the engine asks for whole allocations only.
        unsafe { result::memset_d8_async(address, value, bytes as usize, self.raw.stream) }.map_err(error)
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.raw.enter()?;
        // SAFETY: the range is within an allocation; the driver has copied pageable memory when it returns.
        unsafe { result::memcpy_htod_async(address, bytes, self.raw.stream) }.map_err(error)
    }

    fn download(&self, range: Range<u64>) -> Result<oneshot::Receiver<Result<Vec<u8>, Error>>, Error> {
        self.raw.enter()?;
        let bytes = (range.end - range.start) as usize;
        let pinned = Pinned::new(&self.raw, bytes)?;
        let (to, stream) = (pinned.address.cast::<c_void>(), self.raw.stream);
        // SAFETY: both ranges are as long; `pinned` lives until the event that follows has passed.
        let answer = unsafe { sys::cuMemcpyDtoHAsync_v2(to, range.start, bytes, stream) };
        answer.result().map_err(error)?;
        let event = self.raw.event()?;
        Ok(self.waiter.after(move || {
            event.wait()?;
            Ok(pinned.to_vec())
        }))
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<(), Error> {
        self.raw.enter()?;
        // SAFETY: both ranges are within allocations.
        unsafe { result::memcpy_dtod_async(to, from, bytes as usize, self.raw.stream) }.map_err(error)
    }

    fn launch(
        &self,
        program: &Program,
        kernel: &str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), Error> {
        self.raw.enter()?;
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        let function = self.function(&mut modules, program, kernel)?;
        if grid.shared_bytes > 48 << 10 {
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is loaded.
            unsafe {
                result::function::set_function_attribute(function, attribute, grid.shared_bytes.cast_signed())
            }
            .map_err(error)?;
        }
        let mut pointers = arguments.pointers();
        let (blocks, threads) = ((grid.blocks, 1, 1), (grid.threads, 1, 1));
        // SAFETY: the parameters are the kernel's, which the emulator's tests compare; the driver copies them.
        unsafe {
            result::launch_kernel(
                function,
                blocks,
                threads,
                grid.shared_bytes,
                self.raw.stream,
                &mut pointers,
            )
        }
        .map_err(error)
    }

    fn synchronize(&self) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let event = self.raw.event()?;
        Ok(self.waiter.after(move || event.wait()))
    }

    fn pool_peak(&self, reset: bool) -> Result<Option<u64>, Error> {
        self.raw.enter()?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        let mut value = 0u64;
        let pointer = (&raw mut value).cast::<c_void>();
        // SAFETY: the attribute is a 64-bit number; 0 resets it.
        let answer = unsafe {
            if reset {
                result::mem_pool::set_attribute(self.raw.pool, attribute, pointer)
            } else {
                result::mem_pool::get_attribute(self.raw.pool, attribute, pointer)
            }
        };
        answer.map_err(error)?;
        Ok(Some(value))
    }
}
