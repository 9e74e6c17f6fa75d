//! Frozen weights as rows that products unpack.

use anylora_engine::{Absmax, DType, Error, Ggml, Nf4, Result, Tensor, Weight};
use anylora_quant::{BlockSize, Codebook, DoubleQuantized, QuantError, Quantized4};
use burn::tensor::backend::Backend;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::rows::{self, BF16, Dense, Expand, F16, F32, Nf4Rows, Rows, Scales, WithRows};
use crate::simd::{LANES, Level};
use crate::{Burn, parallel, view};

const OP: &str = "linear";

/// Runs `user` with the weight's rows.
pub(super) fn with_weight<B: Backend, W: WithRows>(weight: &Weight<Burn<B>>, user: W) -> Result<W::Output> {
    let k = weight.shape()[1];
    match weight {
        Weight::Dense(tensor) if tensor.dtype() == DType::F32 => {
            let values = view::floats(OP, tensor)?;
            Ok(user.with(&Dense::<F32>::new(bytemuck::cast_slice(&values), k)))
        }
        Weight::Dense(tensor) => {
            let (bytes, start) = view::bytes(OP, tensor)?;
            let bytes = &bytes[start..start + tensor.size_bytes()];
            match tensor.dtype() {
                DType::F16 => Ok(user.with(&Dense::<F16>::new(bytes, k))),
                DType::BF16 => Ok(user.with(&Dense::<BF16>::new(bytes, k))),
                found => Err(not_a_float(found)),
            }
        }
        Weight::Nf4(nf4) if k.is_multiple_of(2 * LANES) && nf4.block_size.is_multiple_of(2 * LANES) => {
            with_nf4(nf4, user)
        }
        Weight::Nf4(nf4) => {
            let values = dequantized(nf4)?;
            Ok(user.with(&Dense::<F32>::new(bytemuck::cast_slice(&values), k)))
        }
        Weight::Ggml(ggml) => with_ggml(ggml, user),
    }
}

fn with_nf4<B: Backend, W: WithRows>(nf4: &Nf4<Burn<B>>, user: W) -> Result<W::Output> {
    let whole = |tensor: &Tensor<Burn<B>>| {
        let (bytes, start) = view::bytes(OP, tensor)?;
        Ok::<_, anylora_engine::Error>((bytes, start..start + tensor.size_bytes()))
    };
    let (packed, range) = whole(&nf4.packed)?;
    let packed = &packed[range];
    let mut rows = Nf4Rows {
        packed,
        scales: Scales::F32(&[]),
        levels: &nf4.levels,
        block_size: nf4.block_size,
        columns: nf4.shape[1],
    };
    match &nf4.absmax {
        Absmax::F32(absmax) => {
            let absmax = view::floats(OP, absmax)?;
            rows.scales = Scales::F32(&absmax);
            Ok(user.with(&rows))
        }
        Absmax::Double {
            codes,
            nested,
            offset,
        } => {
            let ((codes, range), nested) = (whole(codes)?, view::floats(OP, nested)?);
            rows.scales = Scales::Double {
                codes: &codes[range],
                nested: &nested,
                offset: *offset,
            };
            Ok(user.with(&rows))
        }
    }
}

/// Runs `user` with the rows of llama.cpp's blocks.
pub(super) fn with_ggml<B: Backend, W: WithRows>(ggml: &Ggml<Burn<B>>, user: W) -> Result<W::Output> {
    let (bytes, start) = view::bytes(OP, &ggml.blocks)?;
    let bytes = &bytes[start..start + ggml.blocks.size_bytes()];
    Ok(rows::ggml(ggml.format, bytes, ggml.shape[1], user))
}

struct ExpandRow<'a> {
    row: usize,
    out: &'a mut [f32],
}

impl WithRows for ExpandRow<'_> {
    type Output = ();

    fn with<R: Rows>(self, rows: &R) {
        let Self { row, out } = self;
        let columns = 0..rows.columns();
        Level::detect().run(Expand {
            rows,
            row,
            columns,
            out,
        });
    }
}

/// Row `row` of llama.cpp's blocks in f32.
pub(super) fn expand_row<B: Backend>(ggml: &Ggml<Burn<B>>, row: usize, out: &mut [f32]) -> Result<()> {
    with_ggml(ggml, ExpandRow { row, out })
}

/// f16 or bf16 to f32, on all cores.
pub(super) fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return Err(not_a_float(dtype));
    }
    parallel::parts(out, |start, out| {
        let bytes = &bytes[start * 2..(start + out.len()) * 2];
        // Host memory is aligned in practice; where it isn't, one copy makes it so.
        if dtype == DType::F16 {
            match bytemuck::try_cast_slice::<u8, f16>(bytes) {
                Ok(values) => values.convert_to_f32_slice(out),
                Err(_) => bytemuck::pod_collect_to_vec::<u8, f16>(bytes).convert_to_f32_slice(out),
            }
        } else {
            match bytemuck::try_cast_slice::<u8, bf16>(bytes) {
                Ok(values) => values.convert_to_f32_slice(out),
                Err(_) => bytemuck::pod_collect_to_vec::<u8, bf16>(bytes).convert_to_f32_slice(out),
            }
        }
    });
    Ok(())
}

fn not_a_float(found: DType) -> Error {
    Error::DType {
        op: OP,
        argument: "weight",
        expected: "f32, f16 or bf16",
        found,
    }
}

/// A weight whose bytes or blocks cross its rows, which no model's do, in f32.
fn dequantized<B: Backend>(nf4: &Nf4<Burn<B>>) -> Result<Vec<f32>> {
    let (codebook, block_size) = settings(nf4)?;
    let [n, k] = nf4.shape;
    let weight = Quantized4 {
        codebook,
        block_size,
        len: n * k,
        packed: byte_values(&nf4.packed)?,
        absmax: absmax(&nf4.absmax)?,
    };
    Ok(weight.dequantize())
}

/// The absmax as quant takes them.
fn absmax<B: Backend>(absmax: &Absmax<Burn<B>>) -> Result<anylora_quant::Absmax> {
    Ok(match absmax {
        Absmax::F32(values) => anylora_quant::Absmax::F32(view::floats(OP, values)?.to_vec()),
        Absmax::Double {
            codes,
            nested,
            offset,
        } => anylora_quant::Absmax::Double(DoubleQuantized {
            codes: byte_values(codes)?,
            nested_absmax: view::floats(OP, nested)?.to_vec(),
            offset: *offset,
        }),
    })
}

fn byte_values<B: Backend>(tensor: &Tensor<Burn<B>>) -> Result<Vec<u8>> {
    let (bytes, start) = view::bytes(OP, tensor)?;
    Ok(bytes[start..start + tensor.len()].to_vec())
}

fn settings<B: Backend>(nf4: &Nf4<Burn<B>>) -> Result<(Codebook, BlockSize)> {
    let block_size = BlockSize::new(nf4.block_size).map_err(|error| invalid(&error))?;
    let known = [Codebook::Nf4, Codebook::Fp4]
        .into_iter()
        .find(|codebook| *codebook.levels() == nf4.levels);
    let codebook = known.ok_or_else(|| Error::Unsupported {
        op: OP,
        what: "a 4-bit weight with levels other than NF4's and FP4's".to_owned(),
        engine: "burn".to_owned(),
    })?;
    Ok((codebook, block_size))
}

fn invalid(error: &QuantError) -> Error {
    Error::Argument {
        op: OP,
        what: error.to_string(),
    }
}
