//! The GPU itself: what is asked of its driver, in the order of one stream.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::iter;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anylora_engine::Error;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use futures_channel::oneshot;

use crate::OpenError;
use crate::compiler::Compiler;
use crate::context::{Context, Pinned, error};
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
    /// The most bytes that were allocated at once, as the driver counts them; with `reset` a new peak begins.
    fn pool_peak(&self, reset: bool) -> Result<u64, Error>;
}

/// A GPU of NVIDIA's driver.
pub(crate) struct Gpu {
    /// First: it waits for what uses the rest.
    waiter: Waiter,
    context: Arc<Context>,
    /// Whether uploads go through pinned memory: see `upload`.
    staged: bool,
    kernels: Kernels,
    modules: Mutex<HashMap<Program, Module>>,
}

/// A compiler, and what it compiles for.
struct Kernels {
    compiler: Compiler,
    architecture: String,
}

struct Module {
    handle: sys::CUmodule,
    functions: HashMap<String, sys::CUfunction>,
}

// SAFETY: as for `Context`.
unsafe impl Send for Module {}

impl Kernels {
    /// A compiler with the architecture for a GPU of this capability.
    fn of(compiler: Compiler, (major, minor): (i32, i32)) -> Result<Self, String> {
        let Some(architecture) = compiler.architecture(10 * major + minor) else {
            let (nvrtc_major, nvrtc_minor) = compiler.version();
            return Err(format!(
                "version {nvrtc_major}.{nvrtc_minor} knows no architecture up to {major}.{minor}"
            ));
        };
        Ok(Self {
            compiler,
            architecture,
        })
    }

    /// The program, compiled and loaded into the current context.
    fn load(&self, program: &Program) -> Result<Module, Error> {
        let image = self
            .compiler
            .compile(program, &self.architecture, &[])
            .map_err(|error| Error::Device(error.to_string()))?;
        // SAFETY: NVRTC made the image; PTX ends with 0.
        let handle = unsafe { result::module::load_data(image.bytes.as_ptr().cast()) }.map_err(error)?;
        Ok(Module {
            handle,
            functions: HashMap::new(),
        })
    }
}

impl Module {
    /// The kernel of this name.
    fn function(&mut self, program: &Program, kernel: &str) -> Result<sys::CUfunction, Error> {
        if let Some(function) = self.functions.get(kernel) {
            return Ok(*function);
        }
        let missing = |_| Error::Device(format!("{program} has no kernel {kernel}"));
        let name = CString::new(kernel).map_err(missing)?;
        // SAFETY: the module is loaded and stays so.
        let function = unsafe { result::module::get_function(self.handle, name) }.map_err(error)?;
        self.functions.insert(kernel.to_owned(), function);
        Ok(function)
    }
}

impl Gpu {
    /// Opens it, with the first NVRTC here whose kernels the driver takes: one that is newer than the driver may make
    /// what that can't read.
    pub(crate) fn open(report: &GpuReport) -> Result<Self, OpenError> {
        let refused = |reason: String| OpenError::Request {
            name: report.info.name.clone(),
            reason,
        };
        // Before the context, which takes memory and time.
        let mut compilers = Compiler::all();
        let first = compilers.next().ok_or_else(|| {
            OpenError::NoCompiler(format!("none of {} was found", Compiler::names().join(", ")))
        })?;
        let context = Context::open(report.index).map_err(|error| refused(reason(error)))?;
        let staged = context
            .reads_host_pages()
            .map_err(|error| refused(reason(error)))?;
        let probe = Program {
            file: "fill",
            defines: Vec::new(),
        };
        let mut reasons = Vec::new();
        for compiler in iter::once(first).chain(compilers) {
            let loaded = compiler
                .and_then(|compiler| Kernels::of(compiler, report.capability))
                .and_then(|kernels| Ok((kernels.load(&probe).map_err(|error| error.to_string())?, kernels)));
            let (module, kernels) = match loaded {
                Ok(loaded) => loaded,
                Err(why) => {
                    reasons.push(why);
                    continue;
                }
            };
            return Ok(Self {
                waiter: Waiter::new().map_err(|error| refused(error.to_string()))?,
                context: Arc::new(context),
                staged,
                kernels,
                modules: Mutex::new(HashMap::from([(probe, module)])),
            });
        }
        Err(OpenError::NoCompiler(reasons.join("; ")))
    }

    /// Asks for memory of the pool; `None` where there is no more.
    fn ask(&self, bytes: usize) -> Result<Option<u64>, Error> {
        // SAFETY: pool and stream are alive, and of the current context.
        match unsafe { result::mem_pool::alloc_async(self.context.pool, bytes, self.context.stream) } {
            Ok(address) => Ok(Some(address)),
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => Ok(None),
            Err(other) => Err(error(other)),
        }
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let modules = self.modules.get_mut().unwrap_or_else(PoisonError::into_inner);
        if self.context.enter().is_ok() {
            // SAFETY: the stream is alive. Nobody is left who could be told of an error.
            let _ = unsafe { result::stream::synchronize(self.context.stream) };
            for (_, module) in modules.drain() {
                // SAFETY: no kernel of it runs any more, and nobody can ask for one.
                let _ = unsafe { sys::cuModuleUnload(module.handle) };
            }
        }
    }
}

impl Driver for Gpu {
    fn allocate(&self, bytes: u64) -> Result<Option<u64>, Error> {
        self.context.enter()?;
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if let Some(address) = self.ask(bytes)? {
            return Ok(Some(address));
        }
        // What the pool keeps in pieces that are too small goes back to the driver.
        // SAFETY: stream and pool are alive.
        unsafe {
            result::stream::synchronize(self.context.stream).map_err(error)?;
            result::mem_pool::trim_to(self.context.pool, 0).map_err(error)?;
        }
        self.ask(bytes)
    }

    fn free(&self, address: u64, _bytes: u64) {
        if self.context.enter().is_ok() {
            // Nobody can be told of an error; a lost device shows in the next call.
            // SAFETY: it came from `allocate`, and what is queued so far is all that uses it.
            let _ = unsafe { result::free_async(address, self.context.stream) };
        }
    }

    fn set(&self, address: u64, value: u8, bytes: u64) -> Result<(), Error> {
        self.context.enter()?;
        // SAFETY: the engine asks for whole allocations only.
        unsafe { result::memset_d8_async(address, value, bytes as usize, self.context.stream) }.map_err(error)
    }

    /// From memory that is not pinned the driver copies before it returns, but where the GPU reads such memory itself:
    /// there the bytes go through pinned memory, which lives until they have arrived.
    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.context.enter()?;
        let stream = self.context.stream;
        if !self.staged {
            // SAFETY: the range is within an allocation; the driver has read all when it returns.
            return unsafe { result::memcpy_htod_async(address, bytes, stream) }.map_err(error);
        }
        let mut pinned = Pinned::new(&self.context, bytes.len())?;
        pinned.write(bytes);
        // SAFETY: the range is within an allocation; `pinned` lives until the event that follows has passed.
        let answer = unsafe { sys::cuMemcpyHtoDAsync_v2(address, pinned.address, bytes.len(), stream) };
        answer.result().map_err(error)?;
        let event = self.context.event()?;
        // Nobody waits for it: an error of the device is that of a later call.
        drop(self.waiter.after(move || {
            let _ = event.wait();
            drop(pinned);
        }));
        Ok(())
    }

    fn download(&self, range: Range<u64>) -> Result<oneshot::Receiver<Result<Vec<u8>, Error>>, Error> {
        self.context.enter()?;
        let bytes = (range.end - range.start) as usize;
        let pinned = Pinned::new(&self.context, bytes)?;
        let (to, stream) = (pinned.address, self.context.stream);
        // SAFETY: both ranges are as long; `pinned` lives until the event that follows has passed.
        let answer = unsafe { sys::cuMemcpyDtoHAsync_v2(to, range.start, bytes, stream) };
        answer.result().map_err(error)?;
        let event = self.context.event()?;
        Ok(self.waiter.after(move || {
            event.wait()?;
            Ok(pinned.to_vec())
        }))
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<(), Error> {
        self.context.enter()?;
        // SAFETY: both ranges are within allocations.
        unsafe { result::memcpy_dtod_async(to, from, bytes as usize, self.context.stream) }.map_err(error)
    }

    fn launch(
        &self,
        program: &Program,
        kernel: &str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), Error> {
        self.context.enter()?;
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if !modules.contains_key(program) {
            modules.insert(program.clone(), self.kernels.load(program)?);
        }
        let module = modules
            .get_mut(program)
            .ok_or_else(|| Error::Device(format!("{program} isn't loaded")))?;
        let function = module.function(program, kernel)?;
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
                self.context.stream,
                &mut pointers,
            )
        }
        .map_err(error)
    }

    fn synchronize(&self) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let event = self.context.event()?;
        Ok(self.waiter.after(move || event.wait()))
    }

    fn pool_peak(&self, reset: bool) -> Result<u64, Error> {
        self.context.enter()?;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH;
        let mut value = 0u64;
        let pointer = (&raw mut value).cast::<c_void>();
        // SAFETY: the attribute is a 64-bit number; 0 resets it.
        let answer = unsafe {
            if reset {
                result::mem_pool::set_attribute(self.context.pool, attribute, pointer)
            } else {
                result::mem_pool::get_attribute(self.context.pool, attribute, pointer)
            }
        };
        answer.map_err(error)?;
        Ok(value)
    }
}
