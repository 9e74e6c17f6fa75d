//! NVRTC, CUDA's run-time compiler: found and loaded when it is asked for.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::error::CompileError;
use crate::program::{HEADERS, Program};

/// `nvrtcProgram`.
type Handle = *mut c_void;

/// The functions that are called, of <https://docs.nvidia.com/cuda/nvrtc>. All return an `nvrtcResult`, 0 for success.
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
    architecture_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    create: unsafe extern "C" fn(
        *mut Handle,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    compile: unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int,
    destroy: unsafe extern "C" fn(*mut Handle) -> c_int,
    log_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    log: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    ptx_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    ptx: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    cubin_size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
    cubin: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
}

/// A loaded NVRTC.
pub struct Compiler {
    functions: Functions,
    version: (c_int, c_int),
    /// Compute capabilities, 10 times the major version plus the minor one, ascending.
    architectures: Vec<c_int>,
    /// Last, so that it outlives its functions.
    _library: Library,
}

/// What was compiled.
#[derive(Clone, Debug)]
pub struct Image {
    /// PTX as text with a final 0, or a binary for one architecture.
    pub bytes: Vec<u8>,
    /// What the compiler says beside.
    pub log: String,
}

/// The oldest NVRTC that knows all that the kernels use: `cvt.rn.bf16` and C++17.
const OLDEST: (c_int, c_int) = (11, 4);

impl Compiler {
    /// The names under which the system's loader is asked for NVRTC.
    pub(crate) fn names() -> Vec<String> {
        if cfg!(windows) {
            ["130", "120", "112"]
                .map(|version| format!("nvrtc64_{version}_0.dll"))
                .to_vec()
        } else {
            ["", ".13", ".12", ".11.2"]
                .map(|version| format!("libnvrtc.so{version}"))
                .to_vec()
        }
    }

    /// Every NVRTC where the system's loader looks, and in the toolkit of `CUDA_HOME`, `CUDA_PATH` or
    /// `/usr/local/cuda`, or why it can't be used.
    pub(crate) fn all() -> impl Iterator<Item = Result<Self, String>> {
        let variables = ["CUDA_HOME", "CUDA_PATH"];
        let toolkits = variables
            .into_iter()
            .filter_map(std::env::var_os)
            .map(PathBuf::from);
        let toolkits = toolkits.chain([PathBuf::from("/usr/local/cuda")]);
        let folder = if cfg!(windows) { "bin" } else { "lib64" };
        let in_toolkits = toolkits
            .map(move |toolkit| toolkit.join(folder))
            .flat_map(|folder| {
                let paths = Self::names().into_iter().map(move |name| folder.join(name));
                paths.filter(|path| path.exists())
            });
        let on_path = Self::names().into_iter().map(PathBuf::from);
        on_path
            .chain(in_toolkits)
            .filter_map(|path| match Self::load(&path) {
                Ok(compiler) => Some(Ok(compiler)),
                Err(Refusal::Absent) => None,
                Err(Refusal::Unusable(why)) => Some(Err(why)),
            })
    }

    /// Loads the library at `path`.
    ///
    /// # Errors
    /// Why it can't be used.
    pub fn at(path: &Path) -> Result<Self, String> {
        Self::load(path).map_err(|refusal| match refusal {
            Refusal::Absent => format!("{} could not be loaded", path.display()),
            Refusal::Unusable(why) => why,
        })
    }

    fn load(path: &Path) -> Result<Self, Refusal> {
        // SAFETY: NVRTC's initialisers have no preconditions.
        let library = unsafe { Library::new(path) }.map_err(|_| Refusal::Absent)?;
        let unusable = |error: libloading::Error| {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let why = source.unwrap_or_else(|| error.to_string());
            Refusal::Unusable(format!("{}: {why}", path.display()))
        };
        // SAFETY: the types are those of NVRTC's documentation, which no version has changed.
        let functions = unsafe { Functions::of(&library) }.map_err(unusable)?;
        let mut version = (0, 0);
        // SAFETY: both point to integers.
        let answer = unsafe { (functions.version)(&mut version.0, &mut version.1) };
        if answer != 0 {
            let why = format!("{}: nvrtcVersion gave {answer}", path.display());
            return Err(Refusal::Unusable(why));
        }
        if version < OLDEST {
            let (major, minor) = version;
            return Err(Refusal::Unusable(format!(
                "{} is version {major}.{minor}, {}.{} or later is needed",
                path.display(),
                OLDEST.0,
                OLDEST.1
            )));
        }
        let mut count = 0;
        // SAFETY: it points to an integer.
        unsafe { (functions.architecture_count)(&mut count) };
        let mut architectures = vec![0; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the array is as long as NVRTC said.
        unsafe { (functions.architectures)(architectures.as_mut_ptr()) };
        Ok(Self {
            functions,
            version,
            architectures,
            _library: library,
        })
    }

    /// Major and minor version.
    pub const fn version(&self) -> (i32, i32) {
        self.version
    }

    /// The best architecture for a device of this compute capability (10 times the major version plus the minor one): its
    /// own, which gives a binary, or the highest that is known below it, which gives PTX for the driver to translate.
    pub fn architecture(&self, capability: i32) -> Option<String> {
        if self.architectures.contains(&capability) {
            return Some(format!("sm_{capability}"));
        }
        let below = self.architectures.iter().filter(|known| **known < capability);
        below.max().map(|known| format!("compute_{known}"))
    }

    /// Compiles a variant to PTX for an architecture such as `compute_80`, or to a binary for one such as `sm_80`, with
    /// further options of NVRTC's.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn compile(
        &self,
        program: &Program,
        architecture: &str,
        further: &[&str],
    ) -> Result<Image, CompileError> {
        let failed = |log: String| CompileError {
            program: program.to_string(),
            architecture: architecture.to_owned(),
            log,
        };
        let text = |text: &str| CString::new(text).map_err(|error| failed(error.to_string()));
        let source = text(program.source())?;
        let name = text(&format!("{}.cu", program.file))?;
        let headers: Vec<(CString, CString)> = HEADERS
            .iter()
            .map(|(name, header)| Ok((text(name)?, text(header)?)))
            .collect::<Result<_, CompileError>>()?;
        let mut options = program.options();
        options.push(format!("--gpu-architecture={architecture}"));
        options.push("--std=c++17".to_owned());
        options.extend(further.iter().map(ToString::to_string));
        let options: Vec<CString> = options
            .iter()
            .map(|option| text(option))
            .collect::<Result<_, _>>()?;
        let header_names: Vec<*const c_char> = headers.iter().map(|(name, _)| name.as_ptr()).collect();
        let header_texts: Vec<*const c_char> = headers.iter().map(|(_, header)| header.as_ptr()).collect();
        let option_texts: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

        let mut handle: Handle = std::ptr::null_mut();
        // SAFETY: all strings end with 0 and live until the program is destroyed; the counts are the arrays' lengths.
        let created = unsafe {
            (self.functions.create)(
                &mut handle,
                source.as_ptr(),
                name.as_ptr(),
                HEADERS.len() as c_int,
                header_texts.as_ptr(),
                header_names.as_ptr(),
            )
        };
        if created != 0 {
            return Err(failed(format!("nvrtcCreateProgram gave {created}")));
        }
        // SAFETY: the program was created above.
        let compiled =
            unsafe { (self.functions.compile)(handle, options.len() as c_int, option_texts.as_ptr()) };
        let read = |size, fill| self.read(handle, size, fill);
        let log = read(self.functions.log_size, self.functions.log);
        let image = if architecture.starts_with("sm_") {
            read(self.functions.cubin_size, self.functions.cubin)
        } else {
            read(self.functions.ptx_size, self.functions.ptx)
        };
        // SAFETY: the program was created above, and nothing uses it any more.
        unsafe { (self.functions.destroy)(&mut handle) };
        let log = CStr::from_bytes_until_nul(&log)
            .map_or_else(|_| String::new(), |log| log.to_string_lossy().into_owned());
        if compiled != 0 || image.is_empty() {
            // Where NVRTC itself is broken there is no log.
            let log = if log.trim().is_empty() {
                format!("nvrtcCompileProgram gave {compiled}")
            } else {
                log
            };
            return Err(failed(log));
        }
        Ok(Image { bytes: image, log })
    }

    /// What two functions of NVRTC give: the size, and then that many bytes. Nothing where they refuse.
    fn read(
        &self,
        handle: Handle,
        size: unsafe extern "C" fn(Handle, *mut usize) -> c_int,
        fill: unsafe extern "C" fn(Handle, *mut c_char) -> c_int,
    ) -> Vec<u8> {
        let mut bytes = 0;
        // SAFETY: the program is alive; it points to an integer.
        if unsafe { size(handle, &mut bytes) } != 0 {
            return Vec::new();
        }
        let mut content = vec![0u8; bytes];
        // SAFETY: the buffer is as long as NVRTC said.
        if unsafe { fill(handle, content.as_mut_ptr().cast()) } != 0 {
            return Vec::new();
        }
        content
    }
}

/// Why a library is not the compiler.
enum Refusal {
    Absent,
    Unusable(String),
}

impl Functions {
    /// Looks all of them up.
    ///
    /// # Safety
    /// The library is NVRTC.
    unsafe fn of(library: &Library) -> Result<Self, libloading::Error> {
        // SAFETY: the caller says that the library is NVRTC, whose functions have these types.
        unsafe {
            Ok(Self {
                version: *library.get(b"nvrtcVersion\0")?,
                architectures: *library.get(b"nvrtcGetSupportedArchs\0")?,
                architecture_count: *library.get(b"nvrtcGetNumSupportedArchs\0")?,
                create: *library.get(b"nvrtcCreateProgram\0")?,
                compile: *library.get(b"nvrtcCompileProgram\0")?,
                destroy: *library.get(b"nvrtcDestroyProgram\0")?,
                log_size: *library.get(b"nvrtcGetProgramLogSize\0")?,
                log: *library.get(b"nvrtcGetProgramLog\0")?,
                ptx_size: *library.get(b"nvrtcGetPTXSize\0")?,
                ptx: *library.get(b"nvrtcGetPTX\0")?,
                cubin_size: *library.get(b"nvrtcGetCUBINSize\0")?,
                cubin: *library.get(b"nvrtcGetCUBIN\0")?,
            })
        }
    }
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compiler({}.{})", self.version.0, self.version.1)
    }
}
