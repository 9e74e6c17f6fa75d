use std::fmt;

/// The element type of a [`crate::Tensor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16: the upper half of an f32.
    BF16,
    /// Token ids, positions, segment ids.
    U32,
    /// Labels: -100 is ignored.
    I32,
    /// Packed codes.
    U8,
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::U8 => 1,
        }
    }

    /// The unit roundoff of a float type (half the distance from 1 to the next number); 0 for integers.
    pub const fn unit_roundoff(self) -> f32 {
        match self {
            Self::F32 => f32::EPSILON / 2.0,
            Self::F16 => 4.882_812_5e-4,
            Self::BF16 => 3.906_25e-3,
            Self::U32 | Self::I32 | Self::U8 => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::U8 => "u8",
        })
    }
}
