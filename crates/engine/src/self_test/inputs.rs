//! A case's tensors: random inputs that are the same on every backend, and the results to compare.

use anylora_quant::{BlockSize, Codebook, QuantError};
use half::{bf16, f16};

use crate::{Backend, DType, Error, MemoryKind, Result, Tensor, Weight, philox4x32};

/// A frozen weight's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Dense(DType),
    /// Blocks of this size, double quantized or not.
    Quantized(Codebook, usize, bool),
}

impl Format {
    /// All that kernels read.
    pub(super) const ALL: [Self; 7] = [
        Self::Dense(DType::F32),
        Self::Dense(DType::F16),
        Self::Dense(DType::BF16),
        Self::Quantized(Codebook::Nf4, 64, false),
        Self::Quantized(Codebook::Nf4, 64, true),
        Self::Quantized(Codebook::Nf4, 256, true),
        Self::Quantized(Codebook::Fp4, 32, false),
    ];
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dense(dtype) => write!(f, "{dtype}"),
            Self::Quantized(codebook, block, double) => {
                let name = if *codebook == Codebook::Nf4 { "nf4" } else { "fp4" };
                let double = if *double { ", double" } else { "" };
                write!(f, "{name} blocks of {block}{double}")
            }
        }
    }
}

/// One result.
pub(super) struct Output {
    pub(super) name: &'static str,
    pub(super) dtype: DType,
    /// It only moved: the values are the reference's own.
    pub(super) exact: bool,
    pub(super) bytes: Vec<u8>,
}

impl Output {
    /// The values in f32 (u32 and i32 are small enough here).
    pub(super) fn values(&self) -> Vec<f32> {
        let bytes = &self.bytes;
        match self.dtype {
            DType::F32 => bytemuck::pod_collect_to_vec(bytes),
            DType::F16 => halves(bytes).map(|bits| f16::from_bits(bits).to_f32()).collect(),
            DType::BF16 => halves(bytes).map(|bits| bf16::from_bits(bits).to_f32()).collect(),
            DType::U32 => words(bytes).map(|word| word as f32).collect(),
            DType::I32 => words(bytes).map(|word| word.cast_signed() as f32).collect(),
            DType::U8 => bytes.iter().map(|&byte| byte.into()).collect(),
        }
    }
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .chunks_exact(2)
        .map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let chunks = bytes.chunks_exact(4);
    chunks.map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// What one backend's run of a case makes and gives.
pub(super) struct Inputs<'a, B: Backend> {
    backend: &'a B,
    activation: DType,
    rounding: DType,
    tensors: u32,
    outputs: Vec<(&'static str, bool, Tensor<B>)>,
}

impl<'a, B: Backend> Inputs<'a, B> {
    /// Activations are stored in the type `activation` and hold values that the type `rounding` holds.
    pub(super) fn new(backend: &'a B, activation: DType, rounding: DType) -> Self {
        Self {
            backend,
            activation,
            rounding,
            tensors: 0,
            outputs: Vec::new(),
        }
    }

    /// The type of activations.
    pub(super) fn activation(&self) -> DType {
        self.activation
    }

    /// A random activation, even from -1 to 1.
    pub(super) fn act(&mut self, shape: &[usize]) -> Result<Tensor<B>> {
        let values = self.values(shape.iter().product());
        let values: Vec<f32> = values
            .into_iter()
            .map(|value| round(self.rounding, value))
            .collect();
        self.tensor(shape, self.activation, &values)
    }

    /// Random values in another type.
    pub(super) fn floats(&mut self, shape: &[usize], dtype: DType) -> Result<Tensor<B>> {
        let values = self.values(shape.iter().product());
        self.tensor(shape, dtype, &values)
    }

    /// The rotary table `[positions, width]`: cosines, then sines.
    pub(super) fn rotary_table(&self, positions: usize, width: usize) -> Result<Tensor<B>> {
        let half = width / 2;
        let angle = |p: usize, i: usize| p as f32 * 100f32.powf(-(i as f32) / half as f32);
        let row = |p: usize| {
            let cosines = (0..half).map(move |i| angle(p, i).cos());
            cosines.chain((0..half).map(move |i| angle(p, i).sin()))
        };
        let values: Vec<f32> = (0..positions).flat_map(row).collect();
        self.tensor(&[positions, width], DType::F32, &values)
    }

    /// Words as they are.
    pub(super) fn words(&self, shape: &[usize], words: &[u32]) -> Result<Tensor<B>> {
        Tensor::from_u32(self.backend, shape, MemoryKind::Activations, words)
    }

    /// Labels as they are.
    pub(super) fn labels(&self, labels: &[i32]) -> Result<Tensor<B>> {
        let bytes = bytemuck::cast_slice(labels);
        Tensor::from_bytes(
            self.backend,
            &[labels.len()],
            DType::I32,
            MemoryKind::Activations,
            bytes,
        )
    }

    /// A frozen weight `[n, k]`.
    pub(super) fn weight(&mut self, format: Format, [n, k]: [usize; 2]) -> Result<Weight<B>> {
        let values = self.values(n * k);
        match format {
            Format::Dense(dtype) => Weight::dense(self.backend, [n, k], dtype, &encode(dtype, &values)),
            Format::Quantized(codebook, block, double) => {
                let quantize = || {
                    let quantized = anylora_quant::quantize(&values, codebook, BlockSize::new(block)?)?;
                    if double {
                        quantized.double_quantize()
                    } else {
                        Ok(quantized)
                    }
                };
                let refused = |error: QuantError| Error::Argument {
                    op: "self_test",
                    what: error.to_string(),
                };
                Weight::quantized(self.backend, [n, k], &quantize().map_err(refused)?)
            }
        }
    }

    /// Zeros in f32.
    pub(super) fn zeros(&self, shape: &[usize]) -> Result<Tensor<B>> {
        self.tensor(shape, DType::F32, &vec![0.0; shape.iter().product()])
    }

    /// Hands over a result.
    pub(super) fn output(&mut self, name: &'static str, tensor: Tensor<B>) {
        self.outputs.push((name, false, tensor));
    }

    /// Hands over a result that must have the reference's very values.
    pub(super) fn exact(&mut self, name: &'static str, tensor: Tensor<B>) {
        self.outputs.push((name, true, tensor));
    }

    /// Brings the results to the host.
    pub(super) async fn download(self) -> Result<Vec<Output>> {
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (name, exact, tensor) in self.outputs {
            outputs.push(Output {
                name,
                dtype: tensor.dtype(),
                exact,
                bytes: tensor.download().await?,
            });
        }
        Ok(outputs)
    }

    fn tensor(&self, shape: &[usize], dtype: DType, values: &[f32]) -> Result<Tensor<B>> {
        let bytes = encode(dtype, values);
        Tensor::from_bytes(self.backend, shape, dtype, MemoryKind::Activations, &bytes)
    }

    /// Values that depend on their place in the case only.
    fn values(&mut self, len: usize) -> Vec<f32> {
        self.tensors += 1;
        let words = (0..len.div_ceil(4) as u32).flat_map(|i| philox4x32([i, 0, 0, 0], [self.tensors, 0]));
        // 24 bits of each word: what an f32 holds.
        let even = words.map(|word| (word >> 8) as f32 / (1 << 23) as f32 - 1.0);
        even.take(len).collect()
    }
}

fn round(dtype: DType, value: f32) -> f32 {
    match dtype {
        DType::F16 => f16::from_f32(value).to_f32(),
        DType::BF16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

fn encode(dtype: DType, values: &[f32]) -> Vec<u8> {
    let values = values.iter();
    match dtype {
        DType::F16 => values
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect(),
        DType::BF16 => values
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect(),
        _ => values.flat_map(|value| value.to_le_bytes()).collect(),
    }
}
