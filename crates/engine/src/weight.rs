use anylora_quant::GgmlFormat;

use crate::{Backend, DType, Error, MemoryKind, Result, Tensor};

/// A frozen matrix `[N, K]` (`[out, in]`, as checkpoints store it) in its storage format.
pub enum Weight<B: Backend> {
    /// F32, F16 or BF16.
    Dense(Tensor<B>),
    /// Four bits an element: NF4 or FP4.
    Nf4(Nf4<B>),
    /// llama.cpp's blocks, on devices with [`crate::Caps::ggml`].
    Ggml(Ggml<B>),
}

/// A matrix in one of llama.cpp's block formats, as GGUF files store it.
pub struct Ggml<B: Backend> {
    /// Which.
    pub format: GgmlFormat,
    /// `[N * K / block_len * block_bytes]` u8: whole blocks, row by row.
    pub blocks: Tensor<B>,
    /// `[N, K]`.
    pub shape: [usize; 2],
}

/// A 4-bit matrix on the device, packed as bitsandbytes packs it: over the flattened matrix, the element with
/// the even index in a byte's high nibble (Dettmers et al., "QLoRA", arXiv 2305.14314).
pub struct Nf4<B: Backend> {
    /// `[ceil(N * K / 2)]` u8.
    pub packed: Tensor<B>,
    /// The scale of each block of elements.
    pub absmax: Absmax<B>,
    /// The 16 values of the codes.
    pub levels: [f32; 16],
    /// Elements a block: a power of two from 32 to 4096.
    pub block_size: usize,
    /// `[N, K]`.
    pub shape: [usize; 2],
}

/// The absmax of each block.
pub enum Absmax<B: Backend> {
    /// `[blocks]` f32.
    F32(Tensor<B>),
    /// Double quantization: `absmax[i] = map[codes[i]] * nested[i / 256] + offset`, with bitsandbytes' signed
    /// dynamic map ([`anylora_quant::DYNAMIC_MAP_SIGNED`]).
    Double {
        /// `[blocks]` u8.
        codes: Tensor<B>,
        /// `[ceil(blocks / 256)]` f32.
        nested: Tensor<B>,
        /// The mean of the original absmax.
        offset: f32,
    },
}

impl<B: Backend> Clone for Weight<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Dense(tensor) => Self::Dense(tensor.clone()),
            Self::Nf4(nf4) => Self::Nf4(nf4.clone()),
            Self::Ggml(ggml) => Self::Ggml(Ggml {
                blocks: ggml.blocks.clone(),
                ..*ggml
            }),
        }
    }
}

impl<B: Backend> From<Tensor<B>> for Weight<B> {
    /// The same memory: a matrix of f32, f16 or bf16.
    fn from(tensor: Tensor<B>) -> Self {
        Self::Dense(tensor)
    }
}

impl<B: Backend> Clone for Nf4<B> {
    fn clone(&self) -> Self {
        let absmax = match &self.absmax {
            Absmax::F32(tensor) => Absmax::F32(tensor.clone()),
            Absmax::Double {
                codes,
                nested,
                offset,
            } => Absmax::Double {
                codes: codes.clone(),
                nested: nested.clone(),
                offset: *offset,
            },
        };
        Self {
            packed: self.packed.clone(),
            absmax,
            levels: self.levels,
            block_size: self.block_size,
            shape: self.shape,
        }
    }
}

impl<B: Backend> Weight<B> {
    /// A dense matrix from its bytes: f32, f16 or bf16, little-endian, row-major `[n, k]`.
    ///
    /// # Errors
    /// [`Error::DType`], [`Error::Argument`] where the sizes differ, [`Error::OutOfMemory`].
    pub fn dense(backend: &B, [n, k]: [usize; 2], dtype: DType, bytes: &[u8]) -> Result<Self> {
        let tensor = Tensor::from_bytes(backend, &[n, k], dtype, MemoryKind::Weights, bytes)?;
        tensor.expect_dtype(
            "weight",
            "dense",
            &[DType::F32, DType::F16, DType::BF16],
            "f32, f16 or bf16",
        )?;
        Ok(Self::Dense(tensor))
    }

    /// A 4-bit matrix `[n, k]` as the quantizer made it.
    ///
    /// # Errors
    /// [`Error::Argument`] where it has not `n * k` elements, [`Error::OutOfMemory`].
    pub fn quantized(backend: &B, [n, k]: [usize; 2], weight: &anylora_quant::Quantized4) -> Result<Self> {
        if weight.len != n * k {
            let what = format!("{} elements do not make [{n}, {k}]", weight.len);
            return Err(Error::Argument { op: "weight", what });
        }
        let bytes = |values: &[u8]| {
            Tensor::from_bytes(backend, &[values.len()], DType::U8, MemoryKind::Weights, values)
        };
        let floats = |values: &[f32]| Tensor::from_f32(backend, &[values.len()], MemoryKind::Weights, values);
        let absmax = match &weight.absmax {
            anylora_quant::Absmax::F32(values) => Absmax::F32(floats(values)?),
            anylora_quant::Absmax::Double(double) => Absmax::Double {
                codes: bytes(&double.codes)?,
                nested: floats(&double.nested_absmax)?,
                offset: double.offset,
            },
        };
        Ok(Self::Nf4(Nf4 {
            packed: bytes(&weight.packed)?,
            absmax,
            levels: *weight.codebook.levels(),
            block_size: weight.block_size.get(),
            shape: [n, k],
        }))
    }

    /// A matrix `[n, k]` of llama.cpp's blocks; without `bytes` it has no values yet: for plans.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the device reads no such blocks ([`crate::Caps::ggml`]); [`Error::Argument`] where
    /// rows are not whole blocks or `bytes` are not theirs; [`Error::OutOfMemory`].
    pub fn ggml(backend: &B, [n, k]: [usize; 2], format: GgmlFormat, bytes: Option<&[u8]>) -> Result<Self> {
        const OP: &str = "weight";
        if !backend.caps().ggml {
            return Err(Error::Unsupported {
                op: OP,
                what: format!("a weight in {}", format.name()),
                engine: backend.info().engine.to_owned(),
            });
        }
        let row = format.bytes_of(k).ok_or_else(|| Error::Argument {
            op: OP,
            what: format!("rows of {k} are not whole blocks of {}", format.block_len()),
        })?;
        let blocks = Tensor::empty(backend, &[n * row], DType::U8, MemoryKind::Weights)?;
        if let Some(bytes) = bytes {
            blocks.upload(bytes)?;
        }
        Ok(Self::Ggml(Ggml {
            format,
            blocks,
            shape: [n, k],
        }))
    }

    /// `[N, K]`.
    pub fn shape(&self) -> [usize; 2] {
        match self {
            Self::Dense(tensor) => [tensor.shape()[0], tensor.shape()[1]],
            Self::Nf4(nf4) => nf4.shape,
            Self::Ggml(ggml) => ggml.shape,
        }
    }

    /// Bytes on the device.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Dense(tensor) => tensor.size_bytes(),
            Self::Ggml(ggml) => ggml.blocks.size_bytes(),
            Self::Nf4(nf4) => {
                nf4.packed.size_bytes()
                    + match &nf4.absmax {
                        Absmax::F32(tensor) => tensor.size_bytes(),
                        Absmax::Double { codes, nested, .. } => codes.size_bytes() + nested.size_bytes(),
                    }
            }
        }
    }

    /// The device that holds it.
    pub fn backend(&self) -> &B {
        match self {
            Self::Dense(tensor) => tensor.backend(),
            Self::Nf4(nf4) => nf4.packed.backend(),
            Self::Ggml(ggml) => ggml.blocks.backend(),
        }
    }
}
