use std::fmt;
use std::str::FromStr;

/// Which device to open: the value of `--device` and of `ANYLORA_DEVICE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceSpec {
    /// A discrete GPU, else an integrated one, else the CPU engine; never a software adapter.
    #[default]
    Auto,
    /// The CPU engine.
    Cpu,
    /// A GPU API implemented on the CPU, for tests.
    Software,
    /// The n-th Vulkan adapter, or the best.
    Vulkan(Option<usize>),
    /// The n-th Metal adapter, or the best.
    Metal(Option<usize>),
    /// The n-th Direct3D 12 adapter, or the best.
    Dx12(Option<usize>),
    /// The n-th NVIDIA GPU by CUDA's order, or the first.
    Cuda(Option<usize>),
}

/// A device name that isn't one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown device '{0}': expected auto, cpu, software, vulkan[:N], metal[:N], dx12[:N] or cuda[:N] \
     (`anylora devices` lists what is here)"
)]
pub struct ParseDeviceError(String);

impl FromStr for DeviceSpec {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseDeviceError(text.to_owned());
        let (name, index) = match text.split_once(':') {
            None => (text, None),
            Some((name, index)) => (name, Some(index.parse::<usize>().map_err(|_| error())?)),
        };
        match (name.to_ascii_lowercase().as_str(), index) {
            ("auto", None) => Ok(Self::Auto),
            ("cpu", None) => Ok(Self::Cpu),
            ("software", None) => Ok(Self::Software),
            ("vulkan", index) => Ok(Self::Vulkan(index)),
            ("metal", index) => Ok(Self::Metal(index)),
            ("dx12", index) => Ok(Self::Dx12(index)),
            ("cuda", index) => Ok(Self::Cuda(index)),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, index) = match *self {
            Self::Auto => ("auto", None),
            Self::Cpu => ("cpu", None),
            Self::Software => ("software", None),
            Self::Vulkan(index) => ("vulkan", index),
            Self::Metal(index) => ("metal", index),
            Self::Dx12(index) => ("dx12", index),
            Self::Cuda(index) => ("cuda", index),
        };
        match index {
            None => f.write_str(name),
            Some(index) => write!(f, "{name}:{index}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "auto", "cpu", "software", "vulkan", "vulkan:0", "metal", "dx12:3", "cuda", "cuda:1",
        ] {
            assert_eq!(name.parse::<DeviceSpec>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn others_are_refused_with_the_list() {
        for name in ["", "gpu", "cpu:1", "vulkan:", "vulkan:x", "auto:0"] {
            let error = name.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(error.contains("vulkan[:N]"), "{error}");
        }
    }
}
