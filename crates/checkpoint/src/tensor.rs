//! A tensor as it is stored, and the way from there to f32.

use std::borrow::Cow;
use std::fmt;

use anylora_quant::{GgmlFormat, Quantized4};

/// A floating-point type that weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 single precision.
    F32,
    /// IEEE 754 half precision.
    F16,
    /// bfloat16, the upper half of an f32.
    BF16,
}

impl FloatType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The name in safetensors files: `F32`, `F16`, `BF16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    /// The type of PyTorch's name, such as `bfloat16` or `torch.bfloat16`.
    pub fn from_torch_name(name: &str) -> Option<Self> {
        match name.strip_prefix("torch.").unwrap_or(name) {
            "float32" | "float" => Some(Self::F32),
            "float16" | "half" => Some(Self::F16),
            "bfloat16" => Some(Self::BF16),
            _ => None,
        }
    }

    /// Little-endian bytes `[out.len() * size]` to f32, exactly.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        assert_eq!(
            bytes.len(),
            out.len() * self.size(),
            "bytes and values of one tensor"
        );
        match self {
            Self::F32 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *out = f32::from_le_bytes(*b);
                }
            }
            Self::F16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = half::f16::from_le_bytes(*b).to_f32();
                }
            }
            Self::BF16 => {
                for (out, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *out = half::bf16::from_le_bytes(*b).to_f32();
                }
            }
        }
    }

    /// The values in this type, little-endian, rounded to nearest even.
    ///
    /// # Errors
    /// The first finite value that the type can't hold.
    pub fn encode(self, values: &[f32]) -> Result<Cow<'_, [u8]>, f32> {
        let halves = |round: fn(f32) -> ([u8; 2], bool)| {
            let mut bytes = Vec::with_capacity(values.len() * 2);
            for value in values {
                let (rounded, is_finite) = round(*value);
                if value.is_finite() && !is_finite {
                    return Err(*value);
                }
                bytes.extend(rounded);
            }
            Ok(Cow::Owned(bytes))
        };
        match self {
            Self::F32 => Ok(Cow::Owned(
                values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            )),
            Self::F16 => halves(|value| {
                let rounded = half::f16::from_f32(value);
                (rounded.to_le_bytes(), rounded.is_finite())
            }),
            Self::BF16 => halves(|value| {
                let rounded = half::bf16::from_f32(value);
                (rounded.to_le_bytes(), rounded.is_finite())
            }),
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tensor of a checkpoint, lent from the file where it needs no change.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTensor<'a> {
    /// Row-major, as PyTorch has it: a linear layer's weight is `[out, in]`.
    pub shape: Vec<usize>,
    /// The values in their storage format.
    pub values: Values<'a>,
}

/// The values of a tensor in their storage format.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Values<'a> {
    /// One float an element.
    Dense {
        /// Their type.
        dtype: FloatType,
        /// Little-endian, not necessarily aligned.
        bytes: Cow<'a, [u8]>,
    },
    /// bitsandbytes' 4 bits an element.
    Quantized4(Quantized4),
    /// A block format of llama.cpp.
    Ggml {
        /// Which.
        format: GgmlFormat,
        /// Whole blocks, row by row.
        bytes: Cow<'a, [u8]>,
    },
}

impl StoredTensor<'_> {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All elements in f32, `[len]`.
    ///
    /// # Panics
    /// If the values were changed to a number that does not fit the shape.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.values {
            Values::Dense { dtype, bytes } => {
                let mut out = vec![0.0; self.len()];
                dtype.decode(bytes, &mut out);
                out
            }
            Values::Quantized4(quantized) => quantized.dequantize(),
            Values::Ggml { format, bytes } => {
                let mut out = vec![0.0; self.len()];
                let done = format.dequantize(bytes, &mut out);
                assert_eq!(done, Ok(()), "blocks and shape of one tensor");
                out
            }
        }
    }
}

/// What a checkpoint says about a tensor without reading it.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// Row-major.
    pub shape: Vec<usize>,
    /// How the values are stored.
    pub format: TensorFormat,
    /// Bytes in the file, those of a quantized tensor's scales included.
    pub bytes: usize,
}

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TensorFormat {
    /// One float an element.
    Dense(FloatType),
    /// bitsandbytes' 4 bits an element.
    Quantized4 {
        /// What the codes stand for.
        codebook: anylora_quant::Codebook,
        /// Elements that share a scale.
        block_size: anylora_quant::BlockSize,
        /// Whether the scales are in 8 bits.
        double: bool,
    },
    /// A block format of llama.cpp.
    Ggml(GgmlFormat),
    /// A type that no weight of this program has, such as I64: listed, not read.
    Other(&'static str),
}

impl fmt::Display for TensorFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(dtype) => dtype.fmt(f),
            Self::Quantized4 {
                codebook,
                block_size,
                double,
            } => {
                let nested = if *double { ", double quantization" } else { "" };
                write!(
                    f,
                    "{} (blocks of {}{nested})",
                    codebook.name().to_uppercase(),
                    block_size.get()
                )
            }
            Self::Ggml(format) => f.write_str(format.name()),
            Self::Other(name) => f.write_str(name),
        }
    }
}
