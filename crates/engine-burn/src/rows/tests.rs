//! Every format at every level that the processor has, against the values that quant dequantizes to.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use anylora_engine::philox4x32;
use anylora_quant::{Absmax, BlockSize, Codebook, quantize};
use half::{bf16, f16};

use super::*;
use crate::simd::Level;

fn words(seed: u32, len: usize) -> impl Iterator<Item = u32> {
    (0..len.div_ceil(4) as u32)
        .flat_map(move |i| philox4x32([i, 0, 0, 0], [seed, 0]))
        .take(len)
}

/// From -1 to 1.
fn values(seed: u32, len: usize) -> Vec<f32> {
    words(seed, len)
        .map(|word| (word >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

/// Blocks of any bytes but in their f16, which are numbers.
fn blocks(format: GgmlFormat, count: usize) -> Vec<u8> {
    let halves: &[usize] = match format {
        GgmlFormat::Q4_1 | GgmlFormat::Q5_1 | GgmlFormat::Q4K | GgmlFormat::Q5K => &[0, 2],
        GgmlFormat::Q2K => &[80, 82],
        GgmlFormat::Q3K => &[108],
        GgmlFormat::Q6K => &[208],
        _ => &[0],
    };
    let size = format.block_bytes();
    let mut bytes: Vec<u8> = words(7, count * size).map(|word| (word >> 13) as u8).collect();
    for (i, block) in bytes.chunks_mut(size).enumerate() {
        for &at in halves {
            let scale = f16::from_f32(values((i * 3 + at) as u32, 1)[0] * 0.1);
            block[at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

/// Checks the products with one and with four vectors, and the expanded rows where they can be.
struct Check<'a> {
    level: Level,
    name: &'a str,
    /// `[N, K]`.
    expected: &'a [f32],
}

impl<'a> Check<'a> {
    fn new(level: Level, name: &'a str, expected: &'a [f32]) -> Self {
        Self {
            level,
            name,
            expected,
        }
    }
}

impl WithRows for Check<'_> {
    type Output = ();

    fn with<R: Rows>(self, rows: &R) {
        let Self {
            level,
            name,
            expected,
        } = self;
        let k = rows.columns();
        let n = expected.len() / k;
        let x: [Vec<f32>; 4] = std::array::from_fn(|m| values(100 + m as u32, k));
        let arranged = x.clone().map(|x| {
            let mut x = if rows.is_paired() {
                let pair =
                    |x: &[f32]| [0, 1].map(|odd| x.iter().skip(odd).step_by(2).copied().collect::<Vec<_>>());
                x.chunks(32).flat_map(pair).flatten().collect()
            } else {
                x
            };
            x.resize(k.next_multiple_of(LANES), 0.0);
            x
        });
        let mut out = vec![[0.0; 4]; n];
        level.run(Products {
            rows,
            first: 0,
            x: std::array::from_fn(|m| &arranged[m][..]),
            out: &mut out,
        });
        for (row, out) in out.iter().enumerate() {
            let weights = &expected[row * k..(row + 1) * k];
            for (x, found) in x.iter().zip(out) {
                let terms = || weights.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (sum, size) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
                let off = (f64::from(*found) - sum).abs();
                assert!(
                    off <= size * 1e-6,
                    "{name} {level:?}: row {row} is off by {off} of {size}"
                );
            }
        }
        let mut alone = [[0.0]];
        level.run(Products {
            rows,
            first: n - 1,
            x: [&arranged[2]],
            out: &mut alone,
        });
        assert_eq!(alone[0][0].to_bits(), out[n - 1][2].to_bits(), "{name} {level:?}");
        for start in (0..k).step_by(STRIDE) {
            let columns = start..k.min(start + STRIDE);
            let mut row = vec![0.0; columns.len().next_multiple_of(LANES)];
            level.run(Expand {
                rows,
                row: n - 1,
                columns: columns.clone(),
                out: &mut row,
            });
            let expected = &expected[(n - 1) * k..][columns.clone()];
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert!(bits(&row[..columns.len()]) == bits(expected), "{name} {level:?}");
        }
    }
}

#[test]
fn llama_cpps_blocks() {
    for level in Level::all() {
        for format in GgmlFormat::all() {
            let (n, k) = (3, 3 * format.block_len());
            let bytes = blocks(format, n * 3);
            let mut expected = vec![0.0; n * k];
            format.dequantize(&bytes, &mut expected).unwrap();
            ggml(format, &bytes, k, Check::new(level, format.name(), &expected));
        }
    }
}

#[test]
fn floats_of_every_length() {
    for level in Level::all() {
        for k in [1, 15, 16, 17, 31, 32, 33, 64, 95] {
            let dense = values(3, 5 * k);
            let halves: Vec<f16> = dense.iter().map(|&x| f16::from_f32(x)).collect();
            let brains: Vec<bf16> = dense.iter().map(|&x| bf16::from_f32(x)).collect();
            Check::new(level, "f32", &dense).with(&Dense::<F32>::new(bytemuck::cast_slice(&dense), k));
            let expected: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
            Check::new(level, "f16", &expected).with(&Dense::<F16>::new(bytemuck::cast_slice(&halves), k));
            let expected: Vec<f32> = brains.iter().map(|x| x.to_f32()).collect();
            Check::new(level, "bf16", &expected).with(&Dense::<BF16>::new(bytemuck::cast_slice(&brains), k));
        }
    }
}

/// Blocks that end within rows, and rows that end within blocks.
#[test]
fn four_bits() {
    for level in Level::all() {
        for (codebook, block_size, k) in [
            (Codebook::Nf4, 64, 576),
            (Codebook::Nf4, 64, 96),
            (Codebook::Fp4, 32, 64),
            (Codebook::Nf4, 4096, 160),
        ] {
            let dense = values(5, 70 * k);
            let single = quantize(&dense, codebook, BlockSize::new(block_size).unwrap()).unwrap();
            for quantized in [single.clone(), single.double_quantize().unwrap()] {
                let scales = match &quantized.absmax {
                    Absmax::F32(absmax) => Scales::F32(absmax),
                    Absmax::Double(double) => Scales::Double {
                        codes: &double.codes,
                        nested: &double.nested_absmax,
                        offset: double.offset,
                    },
                };
                let rows = Nf4Rows {
                    packed: &quantized.packed,
                    scales,
                    levels: codebook.levels(),
                    block_size,
                    columns: k,
                };
                let expected = quantized.dequantize();
                Check::new(level, codebook.name(), &expected).with(&rows);
            }
        }
    }
}
