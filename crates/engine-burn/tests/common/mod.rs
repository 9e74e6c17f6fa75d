//! What the tests share: values, tensors on the CPU engine and in the reference, comparison.
#![allow(dead_code, reason = "each test file uses a part")]

use anylora_engine::{MemoryKind, Tensor};
use anylora_engine_burn::Cpu;
use anylora_engine_burn::reference::{self, Oracle};
use burn::tensor::{Int, Tensor as BurnTensor};

pub type Reference<const D: usize> = BurnTensor<Oracle, D>;

/// Values in -1..1 that depend on `seed` and the index only.
pub fn values(seed: u32, len: usize) -> Vec<f32> {
    let mut state = u64::from(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The same values on the engine and, as a leaf that tracks its gradient, in the reference.
pub fn pair<const D: usize>(cpu: &Cpu, seed: u32, shape: [usize; D]) -> (Tensor<Cpu>, Reference<D>) {
    let values = values(seed, shape.iter().product());
    (
        float(cpu, &shape, &values),
        reference::floats(&values, shape, &Default::default()).require_grad(),
    )
}

pub fn float(cpu: &Cpu, shape: &[usize], values: &[f32]) -> Tensor<Cpu> {
    Tensor::from_f32(cpu, shape, MemoryKind::Activations, values).unwrap()
}

pub fn unsigned(cpu: &Cpu, shape: &[usize], values: &[u32]) -> Tensor<Cpu> {
    Tensor::from_u32(cpu, shape, MemoryKind::Activations, values).unwrap()
}

pub fn signed(cpu: &Cpu, shape: &[usize], values: &[i32]) -> Tensor<Cpu> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Tensor::from_bytes(
        cpu,
        shape,
        anylora_engine::DType::I32,
        MemoryKind::Activations,
        &bytes,
    )
    .unwrap()
}

pub fn int<const D: usize>(shape: [usize; D], values: &[u32]) -> BurnTensor<Oracle, D, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
    reference::integers(&values, shape, &Default::default())
}

pub fn read(tensor: &Tensor<Cpu>) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).unwrap()
}

/// f32 on both sides, so that only the order of a sum differs.
pub fn close(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected
        .iter()
        .fold(0f32, |size, value| size.max(value.abs()))
        .max(1e-3);
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs() / size;
        assert!(off < 1e-5, "{what}[{i}]: {found}, expected {expected}");
    }
}

/// Compares an engine tensor with one of the reference.
pub fn same<const D: usize>(what: &str, found: &Tensor<Cpu>, expected: &Reference<D>) {
    close(what, &read(found), &reference::to_vec(expected));
}
