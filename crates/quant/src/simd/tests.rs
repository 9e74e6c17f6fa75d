use proptest::prelude::*;

use super::*;
use crate::quantize::MIN_ABSMAX;

/// What this processor can run beside the scalar loops.
fn vector_isas() -> Vec<Isa> {
    #[cfg(target_arch = "x86_64")]
    {
        let mut isas = Vec::new();
        if is_x86_feature_detected!("avx2") {
            isas.push(Isa::Avx2);
        }
        if is_x86_feature_detected!("avx512f") {
            isas.push(Isa::Avx512);
        }
        isas
    }
    #[cfg(not(target_arch = "x86_64"))]
    Vec::new()
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| v.to_bits()).collect()
}

/// Values of every size, many of them on or beside a bound of a block whose absmax is 1.
fn value() -> impl Strategy<Value = f32> {
    let bounds: Vec<f32> = crate::codebook::NF4_TREE
        .iter()
        .chain(&crate::codebook::FP4_TREE)
        .chain(Codebook::Nf4.levels())
        .chain(Codebook::Fp4.levels())
        .flat_map(|b| [*b, b.next_up(), b.next_down(), -b])
        .collect();
    prop_oneof![
        -1.0f32..1.0,
        prop::sample::select(bounds),
        any::<f32>().prop_filter("finite", |v| v.is_finite()),
        Just(0.0),
        Just(-0.0),
        Just(MIN_ABSMAX),
        Just(1e-42),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn quantize_equals_scalar(
        block in prop::sample::select(vec![32usize, 64, 128, 4096]),
        seed in prop::collection::vec(value(), 1..700),
        blocks in 1usize..6,
        fp4 in any::<bool>(),
    ) {
        let codebook = if fp4 { Codebook::Fp4 } else { Codebook::Nf4 };
        let values: Vec<f32> = seed.iter().copied().cycle().take(blocks * block).collect();
        let run = |isa| {
            let (mut packed, mut absmax) = (vec![0xAA; values.len() / 2], vec![f32::NAN; blocks]);
            quantize(isa, codebook, block, &values, &mut packed, &mut absmax).unwrap();
            (packed, bits(&absmax))
        };
        let scalar = run(Isa::Scalar);
        for isa in vector_isas() {
            prop_assert_eq!(&run(isa), &scalar, "{:?}", isa);
        }
    }

    #[test]
    fn dequantize_equals_scalar(
        block in prop::sample::select(vec![32usize, 64, 256, 4096]),
        packed in prop::collection::vec(any::<u8>(), 1..5000),
        absmax in prop::collection::vec(value(), 313),
        offset in 0usize..17,
        odd in any::<bool>(),
        streaming in any::<bool>(),
        fp4 in any::<bool>(),
    ) {
        let codebook = if fp4 { Codebook::Fp4 } else { Codebook::Nf4 };
        let len = packed.len() * 2 - usize::from(odd);
        let absmax = &absmax[..len.div_ceil(block)];
        // `offset` moves the output across every alignment; what lies around it must stay.
        let run = |isa| {
            let mut out = vec![7.0; len + 40];
            dequantize(isa, codebook, block, &packed, absmax, &mut out[offset..offset + len], streaming);
            bits(&out)
        };
        let scalar = run(Isa::Scalar);
        for isa in vector_isas() {
            prop_assert_eq!(&run(isa), &scalar, "{:?}", isa);
        }
    }
}

#[test]
fn every_isa_names_the_first_value_that_is_not_finite() {
    for isa in vector_isas().into_iter().chain([Isa::Scalar]) {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for index in [0, 31, 64, 100, 191] {
                let mut values = [0.5; 192];
                values[index] = bad;
                values[191] = f32::NAN;
                let error = quantize(isa, Codebook::Nf4, 64, &values, &mut [0; 96], &mut [0.0; 3]);
                assert_eq!(error, Err(index), "{isa:?}");
            }
        }
    }
}
