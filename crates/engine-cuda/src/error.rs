/// Why no device was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// libcuda is not installed.
    #[error("no NVIDIA driver is here (libcuda was not found); `--device auto` takes what is")]
    NoDriver,
    /// The driver has not all that the engine calls.
    #[error(
        "the NVIDIA driver is too old: it has CUDA {}.{}, and {}.{} or later is needed; update the driver, or use \
         `--device vulkan`",
        found / 1000, found % 1000 / 10, wanted / 1000, wanted % 1000 / 10
    )]
    OldDriver {
        /// What the driver says: 1000 times the major version, and 10 times the minor one.
        found: i32,
        /// The oldest that will do.
        wanted: i32,
    },
    /// The driver's library is not that of a working driver.
    #[error(
        "the NVIDIA driver can't be used: {0}; install it anew, in a container run it with `--gpus all`, or use \
         `--device auto`"
    )]
    BrokenDriver(String),
    /// The driver is here and sees no GPU.
    #[error(
        "the NVIDIA driver sees no GPU ({reason}); {}",
        hint(visible.as_deref(), "`nvidia-smi` lists what is here")
    )]
    NoGpu {
        /// What the driver says.
        reason: String,
        /// `CUDA_VISIBLE_DEVICES`, where it is set.
        visible: Option<String>,
    },
    /// There are fewer GPUs.
    #[error(
        "cuda:{index} is not here, CUDA counts {count} from cuda:0 on; {}",
        hint(visible.as_deref(), "`anylora devices` lists them")
    )]
    NoSuchIndex {
        /// The number asked for.
        index: usize,
        /// How many there are, counted from 0.
        count: usize,
        /// `CUDA_VISIBLE_DEVICES`, where it is set.
        visible: Option<String>,
    },
    /// The GPU has no bf16 tensor cores.
    #[error(
        "{name} has compute capability {}.{}, and 8.0 (Ampere) or later is needed; use `--device vulkan`",
        capability.0, capability.1
    )]
    OldGpu {
        /// The GPU's name.
        name: String,
        /// Its compute capability.
        capability: (i32, i32),
    },
    /// The compiler of kernels is not installed, or too old.
    #[error(
        "NVRTC, CUDA's run-time compiler, can't be used: {0}; install the CUDA toolkit, or \
         `pip install nvidia-cuda-nvrtc-cu12` and put its folder nvidia/cuda_nvrtc/lib into LD_LIBRARY_PATH"
    )]
    NoCompiler(String),
    /// The GPU is there and refused.
    #[error("{name} could not be opened: {reason}; `anylora devices` lists what else is here")]
    Request {
        /// The GPU's name.
        name: String,
        /// What the driver says.
        reason: String,
    },
}

/// What to do where GPUs are missing, which the environment may hide.
fn hint(visible: Option<&str>, otherwise: &str) -> String {
    visible.map_or_else(
        || otherwise.to_owned(),
        |visible| {
            format!(
                "CUDA_VISIBLE_DEVICES is \"{visible}\" and hides all others: `unset CUDA_VISIBLE_DEVICES`"
            )
        },
    )
}

impl OpenError {
    /// Whether there is nothing here that could be opened, rather than something that fails.
    pub const fn is_absent(&self) -> bool {
        !matches!(self, Self::Request { .. })
    }
}

/// Why a kernel's variant was not compiled.
#[derive(Debug, thiserror::Error)]
#[error("{program} was not compiled for {architecture}: {log}")]
pub struct CompileError {
    /// The variant.
    pub program: String,
    /// The architecture.
    pub architecture: String,
    /// What the compiler says.
    pub log: String,
}
