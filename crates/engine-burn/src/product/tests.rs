//! Every side, at every level that the processor has, against sums in f64.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use anylora_engine::philox4x32;
use anylora_quant::{Absmax, BlockSize, Codebook, quantize};

use super::*;
use crate::rows::{Dense, F32, Nf4Rows, Scales};

/// From -1 to 1.
fn values(seed: u32, len: usize) -> Vec<f32> {
    let words = (0..len.div_ceil(4) as u32).flat_map(|i| philox4x32([i, 0, 0, 0], [seed, 0]));
    words
        .take(len)
        .map(|word| (word >> 8) as f32 / (1 << 23) as f32 - 1.0)
        .collect()
}

fn transposed(x: &[f32], columns: usize) -> Vec<f32> {
    let rows = x.len() / columns;
    (0..x.len()).map(|i| x[i % rows * columns + i / rows]).collect()
}

/// `right` is `[N, K]` or `[K, N]`, dense and as its rows.
fn check(shape: [usize; 3], is_transposed: bool, right: &[f32], rows: &impl Rows) {
    let [m, n, k] = shape;
    let left = values(1, m * k);
    let columns = transposed(&left, k);
    let start = values(2, m * n);
    for level in Level::all() {
        for (left_side, adds) in [
            (Left::Rows(&left), false),
            (Left::Rows(&left), true),
            (Left::Columns(&columns), false),
        ] {
            let mut out = start.clone();
            let product = Product {
                shape,
                left: left_side,
                is_transposed,
                out: &mut out,
                adds,
            };
            product.run(level, rows);
            for (i, out) in out.iter().enumerate() {
                let (row, column) = (i / n, i % n);
                let term = |p: usize| {
                    let right = right[if is_transposed {
                        column * k + p
                    } else {
                        p * n + column
                    }];
                    f64::from(left[row * k + p]) * f64::from(right)
                };
                let before = if adds { f64::from(start[i]) } else { 0.0 };
                let sum = before + (0..k).map(term).sum::<f64>();
                let size = before.abs() + (0..k).map(|p| term(p).abs()).sum::<f64>();
                let off = (f64::from(*out) - sum).abs();
                assert!(
                    off <= size * 2e-6,
                    "{level:?} {shape:?} {is_transposed} {adds}: {row}, {column} is off by {off} of {size}"
                );
            }
        }
    }
}

#[test]
fn matrices_of_every_shape() {
    let sizes = [1, 2, 7, 14, 15, 16, 17, 31, 33, 57, 100];
    for (i, &m) in sizes.iter().enumerate() {
        for (j, &n) in sizes.iter().enumerate() {
            let k = sizes[(i + 3 * j) % sizes.len()];
            let right = values(3, n * k);
            for (is_transposed, columns) in [(true, k), (false, n)] {
                check(
                    [m, n, k],
                    is_transposed,
                    &right,
                    &Dense::<F32>::new(bytemuck::cast_slice(&right), columns),
                );
            }
        }
    }
}

/// Past one block of each dimension.
#[test]
fn large_matrices() {
    for shape in [[9, 2 * COLUMNS + 40, 3], [70, 300, 2 * DEPTH + 9]] {
        let [_, n, k] = shape;
        let right = values(4, n * k);
        for (is_transposed, columns) in [(true, k), (false, n)] {
            check(
                shape,
                is_transposed,
                &right,
                &Dense::<F32>::new(bytemuck::cast_slice(&right), columns),
            );
        }
    }
}

#[test]
fn four_bits_on_either_side() {
    for (rows, columns) in [(40, 576), (300, 96)] {
        let dense = values(5, rows * columns);
        let quantized = quantize(&dense, Codebook::Nf4, BlockSize::new(64).unwrap()).unwrap();
        let Absmax::F32(absmax) = &quantized.absmax else {
            unreachable!()
        };
        let weight = Nf4Rows {
            packed: &quantized.packed,
            scales: Scales::F32(absmax),
            levels: Codebook::Nf4.levels(),
            block_size: 64,
            columns,
        };
        let dense = quantized.dequantize();
        check([20, rows, columns], true, &dense, &weight);
        check([20, columns, rows], false, &dense, &weight);
    }
}

#[test]
fn a_sum_over_nothing_is_zero() {
    let mut out = [1.0; 6];
    let product = Product {
        shape: [2, 3, 0],
        left: Left::Rows(&[]),
        is_transposed: true,
        out: &mut out,
        adds: false,
    };
    product.with(&Dense::<F32>::new(&[], 0));
    assert_eq!(out, [0.0; 6]);
}
