use std::fmt;

use crate::DType;

/// What a device's kernels may use. Decided once, when the device is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tier {
    /// f16 storage and arithmetic.
    pub f16: bool,
    /// bf16 storage of activations.
    pub bf16: bool,
    /// Subgroup operations.
    pub subgroups: bool,
    /// Cooperative matrices (tensor cores). Native only, and experimental in wgpu.
    pub cooperative_matrix: bool,
}

impl Tier {
    /// WebGPU without optional features.
    pub const BASELINE: Self = Self {
        f16: false,
        bf16: false,
        subgroups: false,
        cooperative_matrix: false,
    };

    /// What both tiers have.
    pub const fn intersection(self, other: Self) -> Self {
        Self {
            f16: self.f16 && other.f16,
            bf16: self.bf16 && other.bf16,
            subgroups: self.subgroups && other.subgroups,
            cooperative_matrix: self.cooperative_matrix && other.cooperative_matrix,
        }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("baseline")?;
        for (has, name) in [
            (self.f16, "f16"),
            (self.bf16, "bf16"),
            (self.subgroups, "subgroups"),
            (self.cooperative_matrix, "cooperative-matrix"),
        ] {
            if has {
                write!(f, "+{name}")?;
            }
        }
        Ok(())
    }
}

/// What sort of device it is; `auto` prefers them in this order and never takes `Software`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DeviceKind {
    /// A GPU with memory of its own.
    Discrete,
    /// A GPU that shares the host's memory.
    Integrated,
    /// A GPU behind a virtual machine, or one that doesn't say.
    Other,
    /// The CPU engine.
    Cpu,
    /// A GPU API implemented on the CPU (lavapipe, SwiftShader, WARP): for tests.
    Software,
    /// No device: the dry backend.
    Dry,
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Other => "GPU",
            Self::Cpu => "CPU",
            Self::Software => "software adapter",
            Self::Dry => "no device",
        })
    }
}

/// The limits that decide how an operation is split. The dry backend plans with a real device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Kernel variants that may be used.
    pub tier: Tier,
    /// The most bytes that one binding spans.
    pub max_binding_bytes: u64,
    /// The most bytes that one buffer holds.
    pub max_buffer_bytes: u64,
    /// The alignment of a binding's start.
    pub binding_alignment: u64,
    /// Whether frozen weights may be in llama.cpp's blocks ([`crate::Weight::Ggml`]).
    pub ggml: bool,
}

impl Caps {
    /// No limits, and every format of weights: the CPU engine.
    pub const HOST: Self = Self {
        tier: Tier::BASELINE,
        max_binding_bytes: u64::MAX,
        max_buffer_bytes: u64::MAX,
        binding_alignment: 1,
        ggml: true,
    };

    /// WebGPU's default limits.
    pub const WEBGPU: Self = Self {
        tier: Tier::BASELINE,
        max_binding_bytes: 128 << 20,
        max_buffer_bytes: 256 << 20,
        binding_alignment: 256,
        ggml: false,
    };

    /// Whether activations may be stored in this type.
    pub fn has_activation(&self, dtype: DType) -> bool {
        match dtype {
            DType::F32 => true,
            DType::F16 => self.tier.f16,
            DType::BF16 => self.tier.bf16,
            DType::U32 | DType::I32 | DType::U8 => false,
        }
    }
}

/// Who computes: for `devices`, reports and error messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `wgpu`, `burn`, `cuda` or `dry`.
    pub engine: &'static str,
    /// The adapter's name.
    pub name: String,
    /// Its API: `vulkan`, `metal`, `dx12`, `webgpu`, `cuda`, `cpu`, ...
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
    /// What sort of device it is.
    pub kind: DeviceKind,
}
