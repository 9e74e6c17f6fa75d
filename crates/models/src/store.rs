//! One stored tensor onto the device, in the format that its role asks for.

use std::borrow::Cow;

use anylora_checkpoint::{FloatType, StoredTensor, TensorFormat, Values};
use anylora_engine::{Backend, DType, MemoryKind, Tensor, Weight};
use anylora_quant::{BlockSize, GgmlFormat, QuantError, Quantized4, Quantizer};

use crate::{ModelError, Quantization, Result};

/// Values widened to f32 at a time on the way to the quantizer or to another type.
const CHUNK: usize = 1 << 18;

/// The engine's name of a stored type.
pub(crate) const fn dtype(float: FloatType) -> DType {
    match float {
        FloatType::F32 => DType::F32,
        FloatType::F16 => DType::F16,
        FloatType::BF16 => DType::BF16,
    }
}

/// A norm's weight or a bias, `[len]` f32.
pub(crate) fn vector<B: Backend>(backend: &B, stored: &StoredTensor<'_>) -> Result<Tensor<B>> {
    let values = stored.to_f32();
    Ok(Tensor::from_f32(
        backend,
        &stored.shape,
        MemoryKind::Weights,
        &values,
    )?)
}

/// A matrix `[N, K]` with one float an element, rounded to `float`. Without one as stored, other formats widened to
/// f32.
pub(crate) fn dense<B: Backend>(
    backend: &B,
    name: &str,
    stored: &StoredTensor<'_>,
    float: Option<FloatType>,
) -> Result<Tensor<B>> {
    let out_of_range = |value| ModelError::OutOfRange {
        name: name.to_owned(),
        value,
    };
    let (float, bytes) = match &stored.values {
        Values::Dense { dtype: from, bytes } => {
            let to = float.unwrap_or(*from);
            (to, converted(bytes, *from, to).map_err(out_of_range)?)
        }
        _ => {
            let (to, values) = (float.unwrap_or(FloatType::F32), stored.to_f32());
            let bytes = to.encode(&values).map_err(out_of_range)?.into_owned();
            (to, Cow::Owned(bytes))
        }
    };
    Ok(Tensor::from_bytes(
        backend,
        &stored.shape,
        dtype(float),
        MemoryKind::Weights,
        &bytes,
    )?)
}

/// Values of one type in another, a chunk at a time; the first finite value that the other can't hold is an error.
fn converted(bytes: &[u8], from: FloatType, to: FloatType) -> std::result::Result<Cow<'_, [u8]>, f32> {
    if from == to {
        return Ok(Cow::Borrowed(bytes));
    }
    let len = bytes.len() / from.size();
    let mut out = Vec::with_capacity(len * to.size());
    let mut chunk = vec![0.0; CHUNK.min(len)];
    for bytes in bytes.chunks(CHUNK * from.size()) {
        let chunk = &mut chunk[..bytes.len() / from.size()];
        from.decode(bytes, chunk);
        out.extend_from_slice(&to.encode(chunk)?);
    }
    Ok(Cow::Owned(out))
}

/// A matrix `[N, K]` that is not quantized: llama.cpp's blocks as they are where the device reads them and no other type
/// is asked for, else [`dense`].
pub(crate) fn matrix<B: Backend>(
    backend: &B,
    name: &str,
    stored: &StoredTensor<'_>,
    float: Option<FloatType>,
) -> Result<Weight<B>> {
    if let Values::Ggml { format, bytes } = &stored.values
        && keeps_blocks(backend, *format, &stored.shape, float)
    {
        let shape = [stored.shape[0], stored.shape[1]];
        return Ok(Weight::ggml(backend, shape, *format, Some(bytes))?);
    }
    Ok(Weight::Dense(dense(backend, name, stored, float)?))
}

fn keeps_blocks<B: Backend>(
    backend: &B,
    format: GgmlFormat,
    shape: &[usize],
    float: Option<FloatType>,
) -> bool {
    float.is_none() && backend.caps().ggml && shape.len() == 2 && format.bytes_of(shape[1]).is_some()
}

/// A linear layer's matrix: packed as it is where it is stored in 4 bits, quantized where that is asked for,
/// [`matrix`] otherwise.
pub(crate) fn linear<B: Backend>(
    backend: &B,
    name: &str,
    stored: StoredTensor<'_>,
    quantization: Option<Quantization>,
    float: Option<FloatType>,
) -> Result<Weight<B>> {
    let shape = [stored.shape[0], stored.shape[1]];
    let quantized = match (stored.values, quantization) {
        (Values::Quantized4(quantized), _) => quantized,
        (values, None) => {
            let stored = StoredTensor {
                shape: stored.shape,
                values,
            };
            return matrix(backend, name, &stored, float);
        }
        (values, Some(quantization)) => {
            let stored = StoredTensor {
                shape: stored.shape,
                values,
            };
            quantize(&stored, quantization).map_err(|source| ModelError::Quantize {
                name: name.to_owned(),
                source,
            })?
        }
    };
    Ok(Weight::quantized(backend, shape, &quantized)?)
}

/// Quantizes a tensor a chunk of values at a time, so that it is never in memory as a whole in f32.
pub(crate) fn quantize(
    stored: &StoredTensor<'_>,
    quantization: Quantization,
) -> std::result::Result<Quantized4, QuantError> {
    let Quantization {
        codebook,
        block_size,
        double,
    } = quantization;
    let mut quantizer = Quantizer::with_capacity(codebook, block_size, stored.len());
    for_each_chunk(stored, |chunk| quantizer.push(chunk))?;
    let quantized = quantizer.finish()?;
    if double {
        quantized.double_quantize()
    } else {
        Ok(quantized)
    }
}

/// A tensor's values in f32, in order, a chunk at a time.
pub(crate) fn for_each_chunk<E: From<QuantError>>(
    stored: &StoredTensor<'_>,
    mut f: impl FnMut(&[f32]) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let mut chunk = vec![0.0; CHUNK.min(stored.len())];
    match &stored.values {
        Values::Dense { dtype, bytes } => {
            for bytes in bytes.chunks(CHUNK * dtype.size()) {
                let chunk = &mut chunk[..bytes.len() / dtype.size()];
                dtype.decode(bytes, chunk);
                f(chunk)?;
            }
        }
        Values::Ggml { format, bytes } => {
            // Blocks have at most 256 values, a power of two, so that a chunk holds whole ones.
            for bytes in bytes.chunks(CHUNK / format.block_len() * format.block_bytes()) {
                let chunk = &mut chunk[..bytes.len() / format.block_bytes() * format.block_len()];
                format.dequantize(bytes, chunk)?;
                f(chunk)?;
            }
        }
        _ => f(&stored.to_f32())?,
    }
    Ok(())
}

/// What [`matrix`] makes of a matrix of a format, without values: for plans.
pub(crate) fn empty_matrix<B: Backend>(
    backend: &B,
    shape: &[usize],
    stored: TensorFormat,
    float: Option<FloatType>,
) -> Result<Weight<B>> {
    if let TensorFormat::Ggml(format) = stored
        && keeps_blocks(backend, format, shape, float)
    {
        return Ok(Weight::ggml(backend, [shape[0], shape[1]], format, None)?);
    }
    let stored = match stored {
        TensorFormat::Dense(float) => float,
        _ => FloatType::F32,
    };
    let dtype = dtype(float.unwrap_or(stored));
    Ok(Weight::Dense(Tensor::empty(
        backend,
        shape,
        dtype,
        MemoryKind::Weights,
    )?))
}

/// What [`linear`] makes of a matrix `[n, k]` of a format, without values: for plans.
pub(crate) fn empty_linear<B: Backend>(
    backend: &B,
    [n, k]: [usize; 2],
    stored: TensorFormat,
    quantization: Option<Quantization>,
    float: Option<FloatType>,
) -> Result<Weight<B>> {
    let tensor = |shape: &[usize], dtype| Tensor::empty(backend, shape, dtype, MemoryKind::Weights);
    let quantization = match stored {
        TensorFormat::Quantized4 {
            codebook,
            block_size,
            double,
        } => Some(Quantization {
            codebook,
            block_size,
            double,
        }),
        _ => quantization,
    };
    let Some(quantization) = quantization else {
        return empty_matrix(backend, &[n, k], stored, float);
    };
    let Quantization {
        codebook,
        block_size,
        double,
    } = quantization;
    let blocks = block_size.blocks(n * k);
    let absmax = if double {
        anylora_engine::Absmax::Double {
            codes: tensor(&[blocks], DType::U8)?,
            nested: tensor(&[blocks.div_ceil(anylora_quant::NESTED_BLOCK)], DType::F32)?,
            offset: 0.0,
        }
    } else {
        anylora_engine::Absmax::F32(tensor(&[blocks], DType::F32)?)
    };
    Ok(Weight::Nf4(anylora_engine::Nf4 {
        packed: tensor(&[(n * k).div_ceil(2)], DType::U8)?,
        absmax,
        levels: *codebook.levels(),
        block_size: BlockSize::get(block_size),
        shape: [n, k],
    }))
}
