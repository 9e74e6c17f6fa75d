/// Why no device was opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// `auto` found no hardware GPU. A caller that has the CPU engine takes that.
    #[error("no GPU is here; `--device cpu` takes the CPU engine")]
    NoHardware,
    /// The API has no adapter.
    #[error("no {backend} adapter is here; `anylora devices` lists what is")]
    NoAdapter {
        /// The API's name, as in `--device`.
        backend: &'static str,
    },
    /// The API has software adapters only, and none was asked for by its number.
    #[error("{backend} has only a software adapter here; `--device software` takes it")]
    OnlySoftware {
        /// The API's name, as in `--device`.
        backend: &'static str,
    },
    /// The API has fewer adapters.
    #[error("{backend}:{index} is not here, {backend} has {count} adapters; `anylora devices` lists them")]
    NoSuchIndex {
        /// The API's name, as in `--device`.
        backend: &'static str,
        /// The number asked for.
        index: usize,
        /// How many there are, counted from 0.
        count: usize,
    },
    /// No API is implemented on the CPU here.
    #[error("no software adapter is here; `scripts/setup` installs lavapipe")]
    NoSoftware,
    /// `cpu` is the CPU engine, not a GPU API.
    #[error("the CPU is another engine's device; `--device software` takes a software GPU")]
    Cpu,
    /// `cuda` is another engine's API.
    #[error("CUDA is another engine's device; `--device vulkan` takes an NVIDIA GPU with this one")]
    Cuda,
    /// The adapter is there and refused.
    #[error("{name} could not be opened: {reason}; `anylora devices` lists what else is here")]
    Request {
        /// The adapter's name.
        name: String,
        /// What wgpu says.
        reason: String,
    },
}
