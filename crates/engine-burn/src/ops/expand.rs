//! Frozen weights for burn's products: f32 as they are; all others stay packed and are expanded to f32 a few rows
//! at a time, right before the product that reads them.

use std::ops::Range;

use anylora_engine::{Absmax, DType, Error, Ggml, Nf4, Result, Tensor, Weight};
use anylora_quant::{BlockSize, Codebook, DoubleQuantized, QuantError, Quantized4};
use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, DType as BurnType, Tensor as BurnTensor, TensorData};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::few;
use crate::rows::{Expand, Rows, WithRows};
use crate::simd::Level;
use crate::storage::into_bytes;
use crate::{Burn, parallel, view};

const OP: &str = "linear";

/// Expanded at a time: large enough for the product to run at full speed, and below the size from which
/// dequantization writes past the caches.
const CHUNK_BYTES: usize = 8 << 20;

/// Runs `product(rows, W[rows, :])` over the rows of a weight `[N, K]`, in order.
pub(super) fn for_rows<B: Backend>(
    weight: &Weight<Burn<B>>,
    product: impl FnMut(Range<usize>, &BurnTensor<B, 2>) -> Result<()>,
) -> Result<()> {
    match weight {
        Weight::Dense(tensor) if tensor.dtype() == DType::F32 => {
            let mut product = product;
            product(0..weight.shape()[0], &view::matrix(OP, tensor, weight.shape())?)
        }
        Weight::Dense(tensor) => {
            let (bytes, start) = view::bytes(OP, tensor)?;
            let size = tensor.dtype().size();
            chunks(weight, product, |range, out| {
                let bytes = &bytes[start + range.start * size..start + range.end * size];
                widen(tensor.dtype(), bytes, out)
            })
        }
        Weight::Ggml(ggml) => {
            let k = ggml.shape[1];
            chunks(weight, product, |range, out| {
                let first = range.start / k;
                few::with_ggml(ggml, ExpandRows { first, out })
            })
        }
        Weight::Nf4(nf4) => {
            let absmax = absmax(&nf4.absmax)?;
            let settings = settings(nf4)?;
            nf4.packed.storage().lend_bytes(OP, |packed| {
                let [n, k] = nf4.shape;
                let (codebook, block_size) = settings;
                let weight4 = Quantized4 {
                    codebook,
                    block_size,
                    len: n * k,
                    packed,
                    absmax,
                };
                let result = chunks(weight, product, |range, out| {
                    weight4
                        .dequantize_range(range, out)
                        .map_err(|error| invalid(&error))
                });
                (weight4.packed, result)
            })
        }
    }
}

/// Expands rows from `first` on, on all cores: out `[rows, K]`.
struct ExpandRows<'a> {
    first: usize,
    out: &'a mut [f32],
}

impl WithRows for ExpandRows<'_> {
    type Output = ();

    fn with<R: Rows>(self, rows: &R) {
        let level = Level::detect();
        parallel::rows(self.out, rows.columns(), |row, out| {
            let row = self.first + row;
            level.run(Expand { rows, row, out });
        });
    }
}

/// Row `row` of llama.cpp's blocks in f32.
pub(super) fn expand_row<B: Backend>(ggml: &Ggml<Burn<B>>, row: usize, out: &mut [f32]) -> Result<()> {
    few::with_ggml(ggml, ExpandRows { first: row, out })
}

/// Expands `CHUNK_BYTES` of rows at a time with `expand(elements, out)`. On burn-flex all chunks use one buffer.
fn chunks<B: Backend>(
    weight: &Weight<Burn<B>>,
    mut product: impl FnMut(Range<usize>, &BurnTensor<B, 2>) -> Result<()>,
    expand: impl Fn(Range<usize>, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let [n, k] = weight.shape();
    let device = weight.backend().device();
    let rows = (CHUNK_BYTES / 4 / k).clamp(1, n);
    let mut buffer = Bytes::from_elems(vec![0f32; rows * k]);
    for start in (0..n).step_by(rows) {
        let range = start..n.min(start + rows);
        let len = range.len() * k;
        if buffer.len() != len * 4 {
            buffer = Bytes::from_elems(vec![0f32; len]);
        }
        expand(
            range.start * k..range.end * k,
            bytemuck::cast_slice_mut(&mut buffer),
        )?;
        let data = TensorData::from_bytes(buffer, [range.len(), k], BurnType::F32);
        let chunk = BurnTensor::from_data(data, (device, BurnType::F32));
        product(range, &chunk)?;
        buffer = into_bytes(chunk)?;
    }
    Ok(())
}

/// f16 or bf16 to f32, on all cores.
pub(super) fn widen(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    if !matches!(dtype, DType::F16 | DType::BF16) {
        return Err(Error::DType {
            op: OP,
            argument: "weight",
            expected: "f32, f16 or bf16",
            found: dtype,
        });
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

/// The absmax as quant takes them. Their copy is 1/64 of a percent of the work on the weight.
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
