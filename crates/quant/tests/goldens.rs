//! Bit for bit against what bitsandbytes 0.50.2 computed: `tests/fixtures/nf4/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a helper of tests fails as a test does"
)]

use std::collections::BTreeSet;
use std::path::PathBuf;

use anylora_quant::{
    Absmax, BlockSize, Codebook, DYNAMIC_MAP_SIGNED, DoubleQuantized, NESTED_BLOCK, Quantized4, quantize,
};
use safetensors::{Dtype, SafeTensors, serialize_to_file, tensor::TensorView};

const FILE: &str = "nf4_goldens.safetensors";
const BLOCK: usize = 64;

fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/fixtures/nf4")
        .join(FILE)
}

/// The uncut file, where `ANYLORA_GOLDENS` names the folder that has `nf4/` in it.
fn full() -> Option<PathBuf> {
    std::env::var_os("ANYLORA_GOLDENS").map(|folder| PathBuf::from(folder).join("nf4").join(FILE))
}

struct Goldens<'a>(SafeTensors<'a>);

impl Goldens<'_> {
    fn u8(&self, name: &str) -> Vec<u8> {
        let tensor = self.0.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::U8, "{name}");
        tensor.data().to_vec()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        let tensor = self.0.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), Dtype::F32, "{name}");
        tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    }

    fn cases(&self) -> BTreeSet<String> {
        let names = self.0.names().into_iter();
        names
            .filter_map(|name| name.rsplit_once('/'))
            .map(|(case, _)| case.to_owned())
            .collect()
    }
}

#[track_caller]
fn assert_bits(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(
            found.to_bits(),
            expected.to_bits(),
            "{what}[{i}]: {found:e}, expected {expected:e}"
        );
    }
}

/// Checks every tensor of a case. A cut case has the first part of `input`, `packed` and the dequantized
/// values, and its absmax and their double quantization whole.
fn check_case(goldens: &Goldens<'_>, case: &str) {
    let f32 = |name: &str| goldens.f32(&format!("{case}/{name}"));
    let u8 = |name: &str| goldens.u8(&format!("{case}/{name}"));
    let what = |name: &str| format!("{case}/{name}");
    let (input, absmax) = (f32("input"), f32("absmax"));

    let quantized = quantize(&input, Codebook::Nf4, BlockSize::default()).unwrap();
    let blocks = quantized.blocks();
    assert_eq!(quantized.packed, u8("packed"), "{case}/packed");
    assert_bits(&quantized.absmax_f32(), &absmax[..blocks], &what("absmax"));
    assert_bits(&quantized.dequantize(), &f32("dequant"), &what("dequant"));

    let double = DoubleQuantized::quantize(&absmax).unwrap();
    assert_eq!(double.codes, u8("dq.absmax_u8"), "{case}/dq.absmax_u8");
    assert_bits(
        &double.nested_absmax,
        &f32("dq.nested_absmax"),
        &what("dq.nested_absmax"),
    );
    assert_bits(&[double.offset], &f32("dq.offset"), &what("dq.offset"));
    assert_bits(
        &double.dequantize(),
        &f32("dq.absmax_f32"),
        &what("dq.absmax_f32"),
    );
    if absmax.len() == blocks {
        let whole = quantized.clone().double_quantize().unwrap();
        assert_eq!(whole.absmax, Absmax::Double(double.clone()), "{case}");
    }

    let stored = DoubleQuantized {
        codes: double.codes[..blocks].to_vec(),
        nested_absmax: double.nested_absmax[..blocks.div_ceil(NESTED_BLOCK)].to_vec(),
        offset: double.offset,
    };
    let loaded = Quantized4::new_from_parts(
        Codebook::Nf4,
        BlockSize::default(),
        input.len(),
        u8("packed"),
        Absmax::Double(stored),
    );
    assert_bits(
        &loaded.unwrap().dequantize(),
        &f32("dq.dequant"),
        &what("dq.dequant"),
    );
}

fn check_file(path: PathBuf) {
    let bytes = std::fs::read(&path).unwrap();
    let goldens = Goldens(SafeTensors::deserialize(&bytes).unwrap());
    assert_bits(Codebook::Nf4.levels(), &goldens.f32("nf4_code"), "nf4_code");
    assert_bits(
        &DYNAMIC_MAP_SIGNED,
        &goldens.f32("dynamic_map_signed"),
        "dynamic_map_signed",
    );
    let cases = goldens.cases();
    assert_eq!(cases.len(), 19, "cases: {cases:?}");
    for case in &cases {
        check_case(&goldens, case);
    }
    println!(
        "{}: {} cases, every tensor bit for bit",
        path.display(),
        cases.len()
    );
}

#[test]
fn fixture_is_reproduced_bit_for_bit() {
    check_file(fixture());
}

#[test]
fn full_goldens_are_reproduced_bit_for_bit() {
    match full() {
        Some(path) => check_file(path),
        None => println!("only the fixture was checked: ANYLORA_GOLDENS names no folder"),
    }
}

/// Midpoints as bitsandbytes has them, beside the codes on and above each.
#[test]
fn bounds_take_the_lower_code() {
    let bytes = std::fs::read(fixture()).unwrap();
    let bounds = Goldens(SafeTensors::deserialize(&bytes).unwrap()).f32("nf4_bounds");
    for (code, bound) in bounds.iter().enumerate() {
        // The first value makes absmax 1.
        let quantized = quantize(
            &[[1.0; 32].as_slice(), &[*bound; 16], &[bound.next_up(); 16]].concat(),
            Codebook::Nf4,
            BlockSize::default(),
        );
        let packed = quantized.unwrap().packed;
        assert!(packed[16..24].iter().all(|&byte| usize::from(byte) == code * 17));
        assert!(
            packed[24..]
                .iter()
                .all(|&byte| usize::from(byte) == (code + 1) * 17)
        );
    }
}

/// Values of the prefix that a cut case keeps.
const KEPT: usize = 8192;

#[test]
#[ignore = "writes the fixture anew; run by hand with ANYLORA_GOLDENS when the goldens change"]
fn cut_fixture() {
    let bytes = std::fs::read(full().expect("ANYLORA_GOLDENS names the goldens' folder")).unwrap();
    let goldens = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let mut cut = Vec::new();
    for (name, tensor) in goldens.tensors() {
        let values = match name.rsplit_once('/') {
            Some((_, "input" | "dequant" | "dq.dequant")) => KEPT,
            Some((_, "packed")) => KEPT / 2,
            _ => usize::MAX / 2,
        };
        let elements = tensor.shape().iter().product::<usize>();
        let view = if elements > 2 * values {
            let bytes = tensor.data().len() / elements * values;
            TensorView::new(tensor.dtype(), vec![values], &tensor.data()[..bytes]).unwrap()
        } else {
            TensorView::new(tensor.dtype(), tensor.shape().to_vec(), tensor.data()).unwrap()
        };
        cut.push((name, view));
    }
    const { assert!(KEPT.is_multiple_of(BLOCK)) };
    serialize_to_file(cut, header.metadata().clone(), &fixture()).unwrap();
}
