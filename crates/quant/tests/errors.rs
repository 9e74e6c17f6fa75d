//! Every request that is refused, and the edges of what is not.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_quant::{
    Absmax, BlockSize, Codebook, DoubleQuantized, QuantError, Quantized4, Quantizer, quantize,
};

const NF4: Codebook = Codebook::Nf4;

#[test]
fn names_the_first_value_that_is_not_finite() {
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        for index in [0, 63, 64, 1000, 70_000, 199_999, 200_000, 200_009] {
            let mut values = vec![0.25; 200_010];
            values[index] = bad;
            values[200_009] = f32::NAN;
            let error = quantize(&values, NF4, BlockSize::default()).unwrap_err();
            assert!(
                matches!(error, QuantError::NotFinite { index: found, .. } if found == index),
                "{error}"
            );
        }
    }
    let error = quantize(&[1.0, f32::INFINITY], NF4, BlockSize::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "quantize: element 1 is inf, expected finite values"
    );
}

#[test]
fn a_stream_names_the_index_in_the_whole_tensor() {
    let mut quantizer = Quantizer::new(NF4, BlockSize::default());
    quantizer.push(&[1.0; 100]).unwrap();
    for (chunk, index) in [
        (vec![1.0, f32::NAN], 101),
        ([vec![1.0; 27], vec![f32::NAN; 2]].concat(), 127),
    ] {
        let error = quantizer.push(&chunk).unwrap_err();
        assert!(
            matches!(error, QuantError::NotFinite { index: found, .. } if found == index),
            "{error}"
        );
    }
    let error = quantizer
        .push(&[vec![1.0; 100], vec![f32::NAN]].concat())
        .unwrap_err();
    assert!(
        matches!(error, QuantError::NotFinite { index: 200, .. }),
        "{error}"
    );
    quantizer.push(&[1.0]).unwrap();
    assert_eq!(
        quantizer.finish().unwrap(),
        quantize(&[1.0; 101], NF4, BlockSize::default()).unwrap()
    );
}

#[test]
fn refuses_nothing() {
    assert_eq!(quantize(&[], NF4, BlockSize::default()), Err(QuantError::Empty));
    assert_eq!(
        Quantizer::new(NF4, BlockSize::default()).finish(),
        Err(QuantError::Empty)
    );
}

#[test]
fn refuses_parts_of_other_lengths() {
    let parts = |len, packed, absmax| {
        Quantized4::new_from_parts(NF4, BlockSize::default(), len, vec![0; packed], absmax).unwrap_err()
    };
    let double = |codes, nested| {
        Absmax::Double(DoubleQuantized {
            codes: vec![0; codes],
            nested_absmax: vec![0.0; nested],
            offset: 0.0,
        })
    };
    let length = |what, expected, found| QuantError::Length {
        what,
        expected,
        found,
    };
    assert_eq!(
        parts(101, 50, Absmax::F32(vec![0.0; 2])),
        length("packed", 51, 50)
    );
    assert_eq!(parts(101, 51, Absmax::F32(vec![0.0; 1])), length("absmax", 2, 1));
    assert_eq!(parts(101, 51, double(3, 1)), length("absmax codes", 2, 3));
    assert_eq!(
        parts(64 * 257, 32 * 257, double(257, 1)),
        length("nested_absmax", 2, 1)
    );
}

#[test]
fn refuses_outputs_and_ranges_that_do_not_fit() {
    let mut quantized = quantize(&[1.0; 100], NF4, BlockSize::default()).unwrap();
    let mut out = [0.0; 100];
    let length = |what, expected, found| {
        Err(QuantError::Length {
            what,
            expected,
            found,
        })
    };
    assert_eq!(
        quantized.dequantize_into(&mut out[..99]),
        length("dequantize: out", 100, 99)
    );
    assert_eq!(
        quantized.dequantize_range(10..20, &mut out),
        length("dequantize: out", 10, 100)
    );
    let range = Err(QuantError::Range {
        start: 99,
        end: 101,
        len: 100,
    });
    assert_eq!(quantized.dequantize_range(99..101, &mut out[..2]), range);
    quantized.packed.pop();
    assert_eq!(quantized.dequantize_into(&mut out), length("packed", 50, 49));
}

#[test]
fn zeros_denormals_and_the_largest_values() {
    for value in [0.0, -0.0, f32::MIN_POSITIVE, 1e-37, f32::MAX] {
        for len in [1, 63, 64, 65, 4097] {
            let quantized = quantize(&vec![value; len], NF4, BlockSize::default()).unwrap();
            assert_eq!(quantized.dequantize(), vec![value; len]);
        }
    }
    // Below 1e-38 a block keeps its absmax, and its values scale to less than the levels.
    let quantized = quantize(&[1e-42; 64], NF4, BlockSize::default()).unwrap();
    assert_eq!(*quantized.absmax_f32(), [1e-42]);
    assert_eq!(quantized.packed, [0x77; 32]);
}

#[test]
fn sizes() {
    let quantized = quantize(&[1.0; 64 * 300], NF4, BlockSize::default()).unwrap();
    assert_eq!(quantized.size_bytes(), 32 * 300 + 4 * 300);
    assert_eq!(
        quantized.double_quantize().unwrap().size_bytes(),
        32 * 300 + 300 + 2 * 4 + 4
    );
}

/// The table as bitsandbytes' CPU library dequantizes it: +-{0, 1/192, 2/3, 1, 1/3, 1/2, 1/6, 1/4}.
#[test]
fn fp4_levels_are_bitsandbytes() {
    let bits = [
        0x00000000u32,
        0x3baaaaab,
        0x3f2aaaab,
        0x3f800000,
        0x3eaaaaab,
        0x3f000000,
        0x3e2aaaab,
        0x3e800000,
    ];
    for (code, bits) in bits.into_iter().enumerate() {
        let negative = if bits == 0 { 0 } else { bits | 1 << 31 };
        assert_eq!(Codebook::Fp4.levels()[code].to_bits(), bits, "code {code}");
        assert_eq!(
            Codebook::Fp4.levels()[code + 8].to_bits(),
            negative,
            "code {}",
            code + 8
        );
    }
}
