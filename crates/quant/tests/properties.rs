//! What holds for every tensor.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of tests fails as a test does"
)]

use anylora_quant::{BlockSize, Codebook, Quantized4, Quantizer, quantize};
use proptest::prelude::*;

fn codebook() -> impl Strategy<Value = Codebook> {
    prop_oneof![Just(Codebook::Nf4), Just(Codebook::Fp4)]
}

fn block_size() -> impl Strategy<Value = BlockSize> {
    (5u32..=12).prop_map(|power| BlockSize::new(1 << power).unwrap())
}

/// Weights of one scale, zeros and outliers among them; `len` is rarely a multiple of a block.
fn tensor(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<f32>> {
    let value = prop_oneof![8 => -1.0f32..1.0, 1 => Just(0.0f32), 1 => -300.0f32..300.0];
    (prop::collection::vec(value, len), -30i32..30)
        .prop_map(|(values, power)| values.iter().map(|v| v * 10f32.powi(power)).collect())
}

/// Half of the widest gap between neighbouring levels, with room for rounding.
fn half_gap(codebook: Codebook) -> f32 {
    let mut levels = *codebook.levels();
    levels.sort_by(f32::total_cmp);
    levels
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) / 2.0)
        .fold(0.0, f32::max)
        + 1e-6
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// The codes, FP4's second zero taken for the first.
fn codes(quantized: &Quantized4) -> Vec<u8> {
    let codes = quantized.packed.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    codes
        .map(|code| {
            if quantized.codebook == Codebook::Fp4 && code == 8 {
                0
            } else {
                code
            }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn round_trip_is_within_half_a_gap(
        values in tensor(1..9000), codebook in codebook(), block_size in block_size(),
    ) {
        let restored = quantize(&values, codebook, block_size).unwrap().dequantize();
        let blocks = values.chunks(block_size.get()).zip(restored.chunks(block_size.get()));
        for (values, restored) in blocks {
            let absmax = values.iter().fold(0.0f32, |max, v| max.max(v.abs()));
            for (a, b) in values.iter().zip(restored) {
                prop_assert!((a - b).abs() <= half_gap(codebook) * absmax, "{a:e} became {b:e}, absmax {absmax:e}");
            }
        }
    }

    #[test]
    fn quantizing_what_was_dequantized_gives_the_same_codes(
        values in tensor(1..9000), codebook in codebook(), block_size in block_size(),
    ) {
        let once = quantize(&values, codebook, block_size).unwrap();
        let twice = quantize(&once.dequantize(), codebook, block_size).unwrap();
        prop_assert_eq!(codes(&once), codes(&twice));
        if codebook == Codebook::Nf4 {
            prop_assert_eq!(once, twice);
        }
    }

    #[test]
    fn chunks_give_the_bits_of_the_whole(
        values in tensor(1..20_000), codebook in codebook(), block_size in block_size(),
        cuts in prop::collection::vec(0usize..6000, 0..12),
    ) {
        let mut quantizer = Quantizer::new(codebook, block_size);
        let mut rest = values.as_slice();
        for cut in cuts {
            let (chunk, after) = rest.split_at(cut.min(rest.len()));
            quantizer.push(chunk).unwrap();
            rest = after;
        }
        // A refused chunk leaves no trace.
        let len = quantizer.len();
        let mut bad = rest.to_vec();
        bad.push(f32::NAN);
        prop_assert!(quantizer.push(&bad).is_err());
        prop_assert_eq!(quantizer.len(), len);
        quantizer.push(rest).unwrap();
        prop_assert_eq!(quantizer.finish().unwrap(), quantize(&values, codebook, block_size).unwrap());
    }

    #[test]
    fn a_range_is_a_slice_of_the_whole(
        values in tensor(1..20_000), codebook in codebook(), block_size in block_size(), double in any::<bool>(),
        start in any::<prop::sample::Index>(), end in any::<prop::sample::Index>(),
    ) {
        let mut quantized = quantize(&values, codebook, block_size).unwrap();
        if double {
            quantized = quantized.double_quantize().unwrap();
        }
        let whole = quantized.dequantize();
        let (a, b) = (start.index(values.len() + 1), end.index(values.len() + 1));
        let range = a.min(b)..a.max(b);
        let mut part = vec![f32::NAN; range.len()];
        quantized.dequantize_range(range.clone(), &mut part).unwrap();
        prop_assert_eq!(bits(&part), bits(&whole[range]));
    }

    #[test]
    fn double_quantization_keeps_codes_and_bounds_the_scales(
        values in tensor(1..40_000), block_size in block_size(),
    ) {
        let single = quantize(&values, Codebook::Nf4, block_size).unwrap();
        let double = single.clone().double_quantize().unwrap();
        prop_assert_eq!(&single.packed, &double.packed);
        prop_assert!(double.size_bytes() <= single.size_bytes() + 8);
        let (single, double) = (single.absmax_f32(), double.absmax_f32());
        let max = single.iter().fold(0.0f32, |max, v| max.max(*v));
        // The map's widest gap is 1/64 of [0.1, 1] wide: half of it, and rounding.
        for (a, b) in single.iter().zip(double.iter()) {
            prop_assert!((a - b).abs() <= 0.008 * max, "{a:e} became {b:e}, at most {max:e}");
        }
    }
}

/// Enough values for many tasks and for streaming stores: the same bits as one block at a time.
#[test]
fn threads_and_streaming_stores_change_no_bit() {
    let len = (5 << 20) + 77;
    let values: Vec<f32> = (0..len)
        .map(|i| ((i as u32).wrapping_mul(2_654_435_761) as i32) as f32 * 1e-10)
        .collect();
    let block_size = BlockSize::default();
    let whole = quantize(&values, Codebook::Nf4, block_size).unwrap();
    let mut quantizer = Quantizer::new(Codebook::Nf4, block_size);
    for chunk in values.chunks(5000) {
        quantizer.push(chunk).unwrap();
    }
    assert!(quantizer.finish().unwrap() == whole);
    for quantized in [whole.clone(), whole.double_quantize().unwrap()] {
        let mut out = vec![f32::NAN; len];
        quantized.dequantize_into(&mut out).unwrap();
        let mut part = vec![f32::NAN; 6000];
        for start in (0..len).step_by(6000) {
            let range = start..(start + 6000).min(len);
            let part = &mut part[..range.len()];
            quantized.dequantize_range(range.clone(), part).unwrap();
            assert!(bits(part) == bits(&out[range]), "from {start}");
        }
    }
}
