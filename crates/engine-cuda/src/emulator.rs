//! The kernels on the host: g++ compiles them with `emulator/emulator.h` in the place of the device's instructions.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anylora_engine::Error;
use futures_channel::oneshot;
use libloading::Library;

use crate::driver::Driver;
use crate::launch::{Arguments, Grid};
use crate::pages::Pages;
use crate::program::{HEADERS, Program};

const HEADER: &str = include_str!("../emulator/emulator.h");

/// `EmulatedLaunch` of the header.
#[repr(C)]
struct Call {
    blocks: u32,
    threads: u32,
    shared_bytes: u32,
    descending: u32,
    values: *mut *mut c_void,
    sizes: *const u32,
    kinds: *const c_char,
}

/// Kernels keep their shared memory in statics, which all devices of a process share: one runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A device that is g++ and a thread.
pub(crate) struct Emulator {
    folder: PathBuf,
    descending: bool,
    variants: Vec<Program>,
    libraries: Mutex<HashMap<Program, Library>>,
    memory: Mutex<Memory>,
}

/// What is allocated.
#[derive(Default)]
struct Memory {
    /// By its address.
    pages: HashMap<u64, Pages>,
    bytes: u64,
    /// The most bytes at once.
    peak: u64,
}

impl Emulator {
    /// Writes the headers into `folder`, where compiled kernels are kept.
    pub(crate) fn new(folder: &Path, descending: bool) -> io::Result<Self> {
        let mut hasher = DefaultHasher::new();
        (HEADER, HEADERS).hash(&mut hasher);
        let folder = folder.join(format!("{:016x}", hasher.finish()));
        fs::create_dir_all(folder.join("shared"))?;
        for (name, text) in HEADERS.iter().chain(&[("emulator.h", HEADER)]) {
            write(&folder.join(name), text)?;
        }
        Ok(Self {
            folder,
            descending,
            variants: Program::all(),
            libraries: Mutex::default(),
            memory: Mutex::default(),
        })
    }

    /// Compiles a variant, where that was not done before.
    fn compile(&self, program: &Program) -> Result<Library, Error> {
        let failed = |what: String| Error::Device(format!("emulator: {program}: {what}"));
        if !self.variants.contains(program) {
            return Err(failed("is not in cuda/variants".to_owned()));
        }
        let mut hasher = DefaultHasher::new();
        (program.source(), program.options()).hash(&mut hasher);
        let name = format!("{}-{:016x}", program.file, hasher.finish());
        let library = self.folder.join(format!("{name}.so"));
        if !library.exists() {
            let id = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
            let (source, object) = (
                self.folder.join(format!("{id}.cpp")),
                self.folder.join(format!("{id}.so")),
            );
            fs::write(&source, program.source()).map_err(|error| failed(error.to_string()))?;
            let output = Command::new("g++")
                .args([
                    "-std=c++17",
                    "-O1",
                    "-shared",
                    "-fPIC",
                    "-U_FORTIFY_SOURCE",
                    "-DEMULATED",
                ])
                .args([
                    "-Wall",
                    "-Wextra",
                    "-Werror",
                    "-Wno-unknown-pragmas",
                    "-Wno-unused-function",
                    "-Wno-unused-parameter",
                    "-Wno-clobbered",
                ])
                .args([
                    "-fsanitize=bounds-strict,shift,alignment",
                    "-fsanitize-undefined-trap-on-error",
                ])
                .args(program.options())
                .arg("-I")
                .arg(&self.folder)
                .arg(&source)
                .arg("-o")
                .arg(&object)
                .output()
                .map_err(|error| failed(format!("g++ can't be run: {error}")))?;
            if !output.status.success() {
                return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
            fs::rename(&object, &library).map_err(|error| failed(error.to_string()))?;
            let _ = fs::remove_file(&source);
        }
        // SAFETY: it was compiled from the sources in this binary, and has no initialisers.
        unsafe { Library::new(&library) }.map_err(|error| failed(error.to_string()))
    }
}

/// Writes a file unless it has that content, so that others may read it meanwhile.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read(path).is_ok_and(|found| found == text.as_bytes()) {
        return Ok(());
    }
    let temporary = path.with_extension(format!(
        "{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    fs::write(&temporary, text)?;
    fs::rename(temporary, path)
}

impl Driver for Emulator {
    fn allocate(&self, bytes: u64) -> Result<Option<u64>, Error> {
        let Some(pages) = Pages::new(bytes) else {
            return Ok(None);
        };
        let address = pages.address();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.pages.insert(address, pages);
        memory.bytes += bytes;
        memory.peak = memory.peak.max(memory.bytes);
        Ok(Some(address))
    }

    fn free(&self, address: u64, bytes: u64) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.pages.remove(&address).is_some() {
            memory.bytes -= bytes;
        }
    }

    fn set(&self, address: u64, value: u8, bytes: u64) -> Result<(), Error> {
        // SAFETY: the engine asks for whole allocations only.
        unsafe { std::ptr::write_bytes(address as *mut u8, value, bytes as usize) };
        Ok(())
    }

    fn upload(&self, address: u64, bytes: &[u8]) -> Result<(), Error> {
        // SAFETY: the range is within an allocation.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), address as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, range: Range<u64>) -> Result<oneshot::Receiver<Result<Vec<u8>, Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        let bytes = (range.end - range.start) as usize;
        // SAFETY: the range is within an allocation.
        let content = unsafe { std::slice::from_raw_parts(range.start as *const u8, bytes) }.to_vec();
        // The receiver is right here.
        let _ = sender.send(Ok(content));
        Ok(receiver)
    }

    fn copy(&self, from: u64, to: u64, bytes: u64) -> Result<(), Error> {
        // SAFETY: both ranges are within allocations.
        unsafe { std::ptr::copy(from as *const u8, to as *mut u8, bytes as usize) };
        Ok(())
    }

    fn launch(
        &self,
        program: &Program,
        kernel: &str,
        grid: Grid,
        arguments: &mut Arguments,
    ) -> Result<(), Error> {
        let failed = |what: String| Error::Device(format!("emulator: {program}: {kernel}: {what}"));
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut libraries = self.libraries.lock().unwrap_or_else(PoisonError::into_inner);
        if !libraries.contains_key(program) {
            let library = self.compile(program)?;
            libraries.insert(program.clone(), library);
        }
        let library = libraries
            .get(program)
            .ok_or_else(|| failed("isn't loaded".to_owned()))?;
        let kinds = CString::new(arguments.kinds.clone()).map_err(|error| failed(error.to_string()))?;
        let mut pointers = arguments.pointers();
        let call = Call {
            blocks: grid.blocks,
            threads: grid.threads,
            shared_bytes: grid.shared_bytes,
            descending: self.descending.into(),
            values: pointers.as_mut_ptr(),
            sizes: arguments.sizes.as_ptr(),
            kinds: kinds.as_ptr(),
        };
        // SAFETY: KERNEL in the header gives functions of this type.
        let fault = unsafe {
            let run = library
                .get::<unsafe extern "C" fn(*const Call) -> *const c_char>(
                    format!("emulated_{kernel}\0").as_bytes(),
                )
                .map_err(|error| failed(error.to_string()))?;
            run(&call)
        };
        if fault.is_null() {
            return Ok(());
        }
        // SAFETY: it is one of the header's string constants.
        let fault = unsafe { CStr::from_ptr(fault) };
        Err(failed(fault.to_string_lossy().into_owned()))
    }

    fn synchronize(&self) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let (sender, receiver) = oneshot::channel();
        // The receiver is right here.
        let _ = sender.send(Ok(()));
        Ok(receiver)
    }

    fn pool_peak(&self, reset: bool) -> Result<u64, Error> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if reset {
            memory.peak = memory.bytes;
        }
        Ok(memory.peak)
    }
}
