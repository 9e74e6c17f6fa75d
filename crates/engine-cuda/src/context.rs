//! The driver's handles that a GPU has once, and what lives in its context: events and memory of the host.

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;

use anylora_engine::Error;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;

use crate::gpu::reason;

/// One context, one stream, and a pool that keeps what it got.
pub(crate) struct Context {
    device: sys::CUdevice,
    context: sys::CUcontext,
    pub(crate) stream: sys::CUstream,
    pub(crate) pool: sys::CUmemoryPool,
}

// SAFETY: the driver's functions may be called from any thread; a handle is only a name for what it owns.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

/// What the driver's errors mean. After most of them every later call fails too, since the context is lost.
pub(crate) fn error(error: DriverError) -> Error {
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

impl Context {
    /// Opens the device with this number.
    pub(crate) fn open(index: usize) -> Result<Self, DriverError> {
        let device = result::device::get(i32::try_from(index).unwrap_or(i32::MAX))?;
        // SAFETY: the device was returned by the driver, which was started when it was found.
        let context = unsafe { result::primary_ctx::retain(device) }?;
        // From here on, dropping it gives back what there is.
        let mut opened = Self {
            device,
            context,
            stream: ptr::null_mut(),
            pool: ptr::null_mut(),
        };
        // SAFETY: the context is alive; the properties are plain numbers, of which 0 is none.
        unsafe {
            result::ctx::set_current(context)?;
            opened.stream = result::stream::create(result::stream::StreamKind::NonBlocking)?;
            let mut properties: sys::CUmemPoolProps = std::mem::zeroed();
            properties.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
            properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
            properties.location.id = device;
            opened.pool = result::mem_pool::create(&properties)?;
            let mut keep = u64::MAX;
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(opened.pool, attribute, (&raw mut keep).cast())?;
        }
        Ok(opened)
    }

    /// Whether the GPU reads memory of the host that is not pinned itself, as where both have one page table.
    pub(crate) fn reads_host_pages(&self) -> Result<bool, DriverError> {
        let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS;
        // SAFETY: the device was returned by the driver.
        unsafe { result::device::get_attribute(self.device, attribute) }.map(|has| has != 0)
    }

    /// Makes the context that of this thread.
    pub(crate) fn enter(&self) -> Result<(), Error> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.context) }.map_err(error)
    }

    /// An event after all that was asked for. Where there is none, all of that is waited for, since whoever asked gives
    /// up the memory of the host that it uses.
    pub(crate) fn event(self: &Arc<Self>) -> Result<Event, Error> {
        self.recorded().inspect_err(|_| {
            // SAFETY: the stream is alive. The first error is told.
            let _ = unsafe { result::stream::synchronize(self.stream) };
        })
    }

    fn recorded(self: &Arc<Self>) -> Result<Event, Error> {
        self.enter()?;
        let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING;
        let handle = result::event::create(flags).map_err(error)?;
        let event = Event {
            handle,
            context: Arc::clone(self),
        };
        // SAFETY: event and stream are alive, and of this context.
        unsafe { result::event::record(handle, self.stream) }.map_err(error)?;
        Ok(event)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // Nobody is left who could be told of an error.
        // SAFETY: all that used stream and pool holds this, and is gone.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            if !self.stream.is_null() {
                let _ = result::stream::synchronize(self.stream);
                let _ = result::stream::destroy(self.stream);
            }
            if !self.pool.is_null() {
                let _ = result::mem_pool::destroy(self.pool);
            }
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

/// A place in the stream.
pub(crate) struct Event {
    handle: sys::CUevent,
    context: Arc<Context>,
}

// SAFETY: as for `Context`.
unsafe impl Send for Event {}

impl Event {
    /// Waits until the stream is there.
    pub(crate) fn wait(&self) -> Result<(), Error> {
        self.context.enter()?;
        // SAFETY: the event is alive.
        unsafe { result::event::synchronize(self.handle) }.map_err(error)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: nobody uses it any more.
            let _ = unsafe { result::event::destroy(self.handle) };
        }
    }
}

/// Memory of the host that the GPU reads or writes.
pub(crate) struct Pinned {
    pub(crate) address: *mut c_void,
    bytes: usize,
    context: Arc<Context>,
}

// SAFETY: it is memory that nobody else knows.
unsafe impl Send for Pinned {}

impl Pinned {
    pub(crate) fn new(context: &Arc<Context>, bytes: usize) -> Result<Self, Error> {
        // SAFETY: the context is current; the driver answers with an error where it has no memory.
        let address = unsafe { result::malloc_host(bytes.max(1), 0) }.map_err(error)?;
        Ok(Self {
            address,
            bytes,
            context: Arc::clone(context),
        })
    }

    /// Fills it.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let count = bytes.len().min(self.bytes);
        // SAFETY: the driver gave as many bytes, and nothing was asked of the GPU with them so far.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.address.cast(), count) };
    }

    /// The content, once what writes it is done.
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        // SAFETY: the driver gave as many bytes, and the copy into them has ended.
        unsafe { std::slice::from_raw_parts(self.address.cast::<u8>(), self.bytes) }.to_vec()
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it came from `malloc_host`, and nobody uses it any more.
            let _ = unsafe { result::free_host(self.address) };
        }
    }
}
