//! Attention of one new token over a cache.

use anylora_engine::{AttentionDecode, Backend, DType, Error, ops};
use anylora_engine_burn::reference;
use anylora_tests::{
    Indices, Operand, Output, Tolerance, cases, close, gpus, low_binding, on_each_activation,
    on_every_device, on_every_gpu, read, same_bits,
};
use proptest::prelude::*;

const SCALE: f32 = 0.4;

/// `[B, S, Hq, Hkv, D]`; lengths from 1 to S, the last one S.
fn check<B: Backend>(device: &B, act: DType, shape: [usize; 5], window: Option<usize>) {
    let [batch, capacity, heads, _, dim] = shape;
    let (q, [k, v]) = operands(act, shape);
    let lengths = lengths(batch, capacity);
    let leaves = [k.leaf(), v.leaf()];
    let expected = reference::attention_decode(q.leaf(), leaves, &lengths, window, SCALE);
    let lengths = Indices::unsigned([batch], &lengths);
    let out = Output::new(device, &[batch, heads, dim], act);
    device
        .attention_decode(AttentionDecode {
            q: &q.view_on(device),
            k_cache: &k.view_on(device),
            v_cache: &v.on(device),
            lengths: &lengths.view_on(device),
            window,
            scale: SCALE,
            out: &out.view,
        })
        .unwrap();
    let tolerance = Tolerance::of(act).terms(dim + capacity);
    close("out", &out.view, &reference::to_vec(&expected), tolerance);
    out.check_around();
}

fn operands(
    act: DType,
    [batch, capacity, heads, kv_heads, dim]: [usize; 5],
) -> (Operand<3>, [Operand<4>; 2]) {
    let cache = [batch, capacity, kv_heads, dim];
    (
        Operand::random(1, [batch, heads, dim], act),
        [2, 3].map(|seed| Operand::random(seed, cache, act)),
    )
}

fn lengths(batch: usize, capacity: usize) -> Vec<u32> {
    let last = batch - 1;
    (0..batch)
        .map(|b| if b == last { capacity } else { 1 + (b * 37) % capacity } as u32)
        .collect()
}

#[test]
fn decode_of_any_shape() {
    let shapes = (1_usize..4, 1_usize..150, 1_usize..4, 1_usize..3, 1_usize..40);
    let windows = prop::option::of(1_usize..100);
    cases(
        12,
        (shapes, windows),
        |((batch, capacity, group, kv_heads, dim), window)| {
            let shape = [batch, capacity, group * kv_heads, kv_heads, dim];
            on_every_device!(|device, act| check(device, act, shape, window));
        },
    );
}

#[test]
fn decode_at_the_edges_of_tiles_and_of_all_head_sizes() {
    for capacity in [1, 63, 64, 65, 129] {
        on_every_device!(|device, act| check(device, act, [3, capacity, 2, 1, 8], None));
    }
    for dim in [1, 3, 36, 64, 68, 128, 255, 256] {
        on_each_activation!(|device, act| check(device, act, [2, 70, 2, 1, dim], Some(40)));
    }
}

/// Long caches are split over several workgroups a head; with short lengths most of those have nothing to do.
#[test]
fn decode_of_split_caches() {
    for window in [None, Some(1100), Some(3000)] {
        on_every_device!(|device, act| check(device, act, [3, 2100, 2, 1, 8], window));
    }
    on_every_device!(|device, act| check(device, act, [1, 1030, 1, 1, 5], None));
}

#[test]
fn decode_above_the_binding_limit() {
    let gpu = low_binding(8192);
    for act in [DType::F32, DType::F16] {
        check(&gpu, act, [5, 100, 4, 2, 8], None);
    }
    let shape = [2, 200, 2, 1, 16];
    let (q, [k, v]) = operands(DType::F32, shape);
    let lengths = Indices::unsigned([2], &[3, 200]).on(&gpu);
    let error =
        ops::attention_decode(&q.on(&gpu), &k.on(&gpu), &v.on(&gpu), &lengths, None, SCALE).unwrap_err();
    assert!(
        matches!(
            error,
            Error::BindingLimit {
                unit: "sequence",
                bytes: 12_800,
                ..
            }
        ),
        "{error}"
    );
}

/// Lengths beyond the cache count as they do without a device: the window starts from the length.
#[test]
fn decode_reads_nothing_past_the_cache() {
    let shape = [2, 40, 2, 1, 8];
    on_every_gpu!(|device, act| {
        let (q, [k, v]) = operands(act, shape);
        let run = |lengths: &[u32], window| {
            let lengths = Indices::unsigned([2], lengths).on(device);
            let caches = (k.on(device), v.on(device));
            ops::attention_decode(&q.on(device), &caches.0, &caches.1, &lengths, window, SCALE).unwrap()
        };
        let whole = read(&run(&[40, 40], None));
        assert_eq!(read(&run(&[41, u32::MAX], None)), whole);
        let none = read(&run(&[0, 100], Some(10)));
        assert!(none.iter().all(|&value| value == 0.0), "{none:?}");
    });
}

#[test]
fn decode_gives_the_same_bits() {
    let shape = [2, 1100, 4, 2, 12];
    on_every_gpu!(|device, act| {
        let (q, [k, v]) = operands(act, shape);
        let (q, k, v) = (q.on(device), k.on(device), v.on(device));
        let lengths = Indices::unsigned([2], &[900, 1100]).on(device);
        same_bits("attention_decode", || {
            vec![ops::attention_decode(&q, &k, &v, &lengths, None, SCALE).unwrap()]
        });
    });
}

/// More workgroups than one dimension of a launch has. With one key, the value is the result.
#[test]
fn decode_of_very_many_sequences() {
    let gpu = &gpus()[0];
    let (q, [k, v]) = operands(DType::F32, [66_000, 1, 1, 1, 4]);
    let lengths = Indices::unsigned([66_000], &vec![1; 66_000]).on(gpu);
    let out = ops::attention_decode(&q.on(gpu), &k.on(gpu), &v.on(gpu), &lengths, None, SCALE).unwrap();
    assert_eq!(read(&out), v.values);
}
