//! A window of rows of a weight as bindings.

use std::ops::Range;

use anylora_engine::{Absmax, DType, Error, Result, Weight};
use anylora_quant::DYNAMIC_MAP_SIGNED;
use anylora_shaders::params::Linear;

use super::windows::{RowBits, part};
use crate::Wgpu;
use crate::context::Bind;

/// Blocks that share a nested absmax.
const NESTED_BLOCK: u64 = anylora_quant::NESTED_BLOCK as u64;

/// The define of a weight's format.
pub(super) fn format(weight: &Weight<Wgpu>) -> &'static str {
    match weight {
        Weight::Dense(tensor) => match tensor.dtype() {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            _ => "f32",
        },
        Weight::Nf4(nf4) => match nf4.absmax {
            Absmax::F32(_) => "nf4",
            Absmax::Double { .. } => "nf4_double",
        },
        Weight::Ggml(_) => "ggml",
    }
}

/// What a row of a weight takes of each of its tensors.
///
/// # Errors
/// [`Error::Unsupported`] for a format that no kernel reads.
pub(super) fn row_bits(weight: &Weight<Wgpu>) -> Result<Vec<RowBits>> {
    let [n, k] = weight.shape().map(|size| size as u64);
    Ok(match weight {
        Weight::Dense(tensor) => vec![RowBits::of(tensor, n)],
        Weight::Nf4(nf4) => {
            // Rows begin within bytes and blocks: one more of each at most.
            let blocks = k / nf4.block_size as u64 + 2;
            let packed = RowBits {
                row: 4 * k + 8,
                ..RowBits::of(&nf4.packed, n)
            };
            let (row, tensor) = match &nf4.absmax {
                Absmax::F32(absmax) => (32 * blocks, absmax),
                // The nested absmax are fewer bytes than the codes from 4 blocks on.
                Absmax::Double { codes, .. } => (8 * (blocks + 32), codes),
            };
            let absmax = RowBits {
                row,
                ..RowBits::of(tensor, n)
            };
            vec![packed, absmax]
        }
        Weight::Ggml(ggml) => {
            return Err(Error::Unsupported {
                op: "linear",
                what: format!("a weight in {}", ggml.format.name()),
                engine: "wgpu".to_owned(),
            });
        }
    })
}

/// Binds the rows `rows` and says in `params` where they are.
pub(super) fn bind(
    gpu: &Wgpu,
    weight: &Weight<Wgpu>,
    rows: &Range<u64>,
    params: &mut Linear,
) -> Vec<(&'static str, Bind)> {
    let k = weight.shape()[1] as u64;
    let elements = rows.start * k..rows.end * k;
    params.columns = k as u32;
    let nf4 = match weight {
        Weight::Dense(tensor) => {
            let size = tensor.dtype().size() as u64;
            let dense = part(gpu, tensor, elements.start * size..elements.end * size);
            params.weight_first = (dense.skipped / size) as u32;
            return vec![("weight", dense.bind)];
        }
        Weight::Nf4(nf4) => nf4,
        // `row_bits`, which comes first, refuses it.
        Weight::Ggml(_) => return Vec::new(),
    };
    let packed = part(gpu, &nf4.packed, elements.start / 2..elements.end.div_ceil(2));
    params.weight_first = (2 * packed.skipped + elements.start % 2) as u32;
    params.element_first = elements.start as u32;
    params.block_shift = nf4.block_size.trailing_zeros();
    let block = nf4.block_size as u64;
    let blocks = elements.start / block..elements.end.div_ceil(block);
    let mut tables = nf4.levels.to_vec();
    tables.extend(
        DYNAMIC_MAP_SIGNED
            .iter()
            .flat_map(|&level| [level, 0.0, 0.0, 0.0]),
    );
    let mut binds = vec![
        ("weight", packed.bind),
        ("nf4_tables", gpu.constant(bytemuck::cast_slice(&tables))),
    ];
    match &nf4.absmax {
        Absmax::F32(absmax) => {
            let absmax = part(gpu, absmax, blocks.start * 4..blocks.end * 4);
            params.absmax_first = first(blocks.start, absmax.skipped / 4);
            binds.push(("absmax", absmax.bind));
        }
        Absmax::Double {
            codes,
            nested,
            offset,
        } => {
            let codes = part(gpu, codes, blocks.clone());
            params.absmax_first = first(blocks.start, codes.skipped);
            let groups = blocks.start / NESTED_BLOCK..blocks.end.div_ceil(NESTED_BLOCK);
            let nested = part(gpu, nested, groups.start * 4..groups.end * 4);
            params.nested_first = first(groups.start, nested.skipped / 4);
            params.absmax_offset = *offset;
            binds.push(("absmax_codes", codes.bind));
            binds.push(("absmax_nested", nested.bind));
        }
    }
    binds
}

/// The index of a binding's first element, which kernels subtract modulo 2^32.
fn first(wanted: u64, skipped: u64) -> u32 {
    (wanted as u32).wrapping_sub(skipped as u32)
}
