//! Appending to a cache of keys or values.

use anylora_engine::{Backend, DType, Error, Tensor, ops};
use anylora_tests::{Indices, Operand, cases, gpus, low_binding, on_every_device, read};
use proptest::prelude::*;

/// `[B, T, S, Hkv, D]`.
fn check<B: Backend>(
    device: &B,
    act: DType,
    [batch, time, capacity, kv_heads, dim]: [usize; 5],
    starts: &[u32],
) {
    let new = Operand::random(1, [batch, time, kv_heads, dim], act);
    let cache = Operand::random(2, [batch, capacity, kv_heads, dim], act);
    let mut expected = cache.values.clone();
    let row = kv_heads * dim;
    for (b, &start) in starts.iter().enumerate() {
        for t in 0..time.min(capacity.saturating_sub(start as usize)) {
            let to = (b * capacity + start as usize + t) * row;
            let from = (b * time + t) * row;
            expected[to..to + row].copy_from_slice(&new.values[from..from + row]);
        }
    }
    let starts = Indices::unsigned([batch], starts).view_on(device);
    for (new, cache) in [
        (new.on(device), cache.on(device)),
        (new.view_on(device), cache.view_on(device)),
    ] {
        ops::cache_append(&new, &starts, &cache).unwrap();
        assert_eq!(read(&cache), expected);
    }
}

#[test]
fn append_of_any_shape() {
    let shapes = (1_usize..4, 1_usize..10, 1_usize..20, 1_usize..4, 1_usize..40);
    let with_starts = (shapes, prop::collection::vec(0_u32..25, 3));
    cases(
        12,
        with_starts,
        |((batch, time, capacity, kv_heads, dim), starts)| {
            let shape = [batch, time, capacity, kv_heads, dim];
            on_every_device!(|device, act| check(device, act, shape, &starts[..batch]));
        },
    );
}

#[test]
fn append_at_and_past_the_end() {
    let starts = [0, 5, 6, 7, u32::MAX];
    on_every_device!(|device, act| check(device, act, [5, 3, 7, 2, 70], &starts));
    on_every_device!(|device, act| check(device, act, [5, 9, 7, 1, 3], &starts));
}

#[test]
fn append_above_the_binding_limit() {
    let gpu = low_binding(2048);
    for act in [DType::F32, DType::F16] {
        check(&gpu, act, [5, 3, 7, 2, 16], &[0, 1, 4, 6, 7]);
    }
    let new = Operand::random(1, [2, 2, 2, 16], DType::F32).on(&gpu);
    let cache: Tensor<_> = Operand::random(2, [2, 18, 2, 16], DType::F32).on(&gpu);
    let starts = Indices::unsigned([2], &[0, 1]).on(&gpu);
    let error = ops::cache_append(&new, &starts, &cache).unwrap_err();
    assert!(
        matches!(
            error,
            Error::BindingLimit {
                unit: "sequence",
                bytes: 2304,
                ..
            }
        ),
        "{error}"
    );
}

/// More workgroups than one dimension of a launch has.
#[test]
fn append_to_very_many_sequences() {
    let starts: Vec<u32> = (0..66_000).map(|b| b % 3).collect();
    check(&gpus()[0], DType::F32, [66_000, 1, 2, 1, 4], &starts);
}
