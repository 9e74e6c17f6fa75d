//! The element types that the format has.

use crate::{FloatType, TensorFormat};

/// An element type of the safetensors format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dtype {
    pub(crate) name: &'static str,
    pub(crate) bits: usize,
}

/// All types of safetensors 0.8.
const DTYPES: [(&str, usize); 22] = [
    ("BOOL", 8),
    ("F4", 4),
    ("F6_E2M3", 6),
    ("F6_E3M2", 6),
    ("U8", 8),
    ("I8", 8),
    ("F8_E5M2", 8),
    ("F8_E4M3", 8),
    ("F8_E8M0", 8),
    ("F8_E4M3FNUZ", 8),
    ("F8_E5M2FNUZ", 8),
    ("I16", 16),
    ("U16", 16),
    ("F16", 16),
    ("BF16", 16),
    ("I32", 32),
    ("U32", 32),
    ("F32", 32),
    ("C64", 64),
    ("F64", 64),
    ("I64", 64),
    ("U64", 64),
];

impl Dtype {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        let (name, bits) = *DTYPES.iter().find(|(known, _)| *known == name)?;
        Some(Self { name, bits })
    }

    /// The float type, if it is one that weights have.
    pub(crate) fn float(self) -> Option<FloatType> {
        match self.name {
            "F32" => Some(FloatType::F32),
            "F16" => Some(FloatType::F16),
            "BF16" => Some(FloatType::BF16),
            _ => None,
        }
    }

    pub(crate) fn format(self) -> TensorFormat {
        self.float()
            .map_or(TensorFormat::Other(self.name), TensorFormat::Dense)
    }
}
