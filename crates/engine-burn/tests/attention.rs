//! Attention forward, backward and of one token, against the reference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use anylora_engine::{Mask, ops};
use anylora_engine_burn::Cpu;
use anylora_engine_burn::reference;
use common::*;

/// `[B, T, Hq, Hkv, D]`, whether there are segments, and the mask.
fn check([batch, time, heads, kv_heads, dim]: [usize; 5], packed: bool, mask: Mask) {
    let cpu = Cpu::new(None);
    let (q, q_ref) = pair(&cpu, 50, [batch, time, heads, dim]);
    let (k, k_ref) = pair(&cpu, 51, [batch, time, kv_heads, dim]);
    let (v, v_ref) = pair(&cpu, 52, [batch, time, kv_heads, dim]);
    let (dout, dout_ref) = pair(&cpu, 53, [batch, time, heads, dim]);
    // Segments change at other places in each sequence.
    let ids: Vec<u32> = (0..batch * time)
        .map(|i| ((i % time + 2 * (i / time)) / 5) as u32)
        .collect();
    let segments = packed.then(|| unsigned(&cpu, &[batch, time], &ids));
    let segments_ref = packed.then(|| int([batch, time], &ids));
    let input = ops::AttentionInput {
        q: &q,
        k: &k,
        v: &v,
        segments: segments.as_ref(),
        mask,
        scale: 0.7,
    };
    let (out, lse) = ops::attention(&input).unwrap();
    let leaves = [q_ref.clone(), k_ref.clone(), v_ref.clone()];
    let (out_ref, lse_ref) = reference::attention(leaves, segments_ref, mask, 0.7);
    same("out", &out, &out_ref);
    same("lse", &lse, &lse_ref);
    let gradients = (out_ref * dout_ref).sum().backward();
    let found = ops::attention_backward(&input, &out, &lse, &dout).unwrap();
    for (name, (found, leaf)) in ["dq", "dk", "dv"]
        .into_iter()
        .zip(found.iter().zip([q_ref, k_ref, v_ref]))
    {
        close(name, &read(found), &reference::gradient(&leaf, &gradients));
    }
    let [again, ..] = ops::attention_backward(&input, &out, &lse, &dout).unwrap();
    assert_eq!(read(&found[0]), read(&again));
}

#[test]
fn attention_masks_segments_and_shared_heads() {
    let causal = Mask {
        causal: true,
        window: None,
    };
    let windowed = Mask {
        causal: true,
        window: Some(3),
    };
    let both_sides = Mask {
        causal: false,
        window: Some(2),
    };
    check([1, 1, 1, 1, 4], false, causal);
    check([2, 7, 4, 2, 6], false, Mask::default());
    for mask in [causal, windowed, both_sides, Mask::default()] {
        check([2, 17, 6, 2, 5], true, mask);
    }
    check([1, 9, 3, 1, 4], false, windowed);
    check([1, 9, 3, 3, 4], false, both_sides);
}

#[test]
fn attention_over_several_blocks_of_queries() {
    check(
        [1, 150, 2, 1, 3],
        false,
        Mask {
            causal: true,
            window: None,
        },
    );
    check(
        [1, 150, 2, 1, 3],
        true,
        Mask {
            causal: true,
            window: Some(10),
        },
    );
    check(
        [1, 131, 2, 2, 3],
        false,
        Mask {
            causal: false,
            window: Some(140),
        },
    );
}

#[test]
fn decode_from_a_cache_that_was_appended_to() {
    let cpu = Cpu::new(None);
    let [batch, capacity, heads, kv_heads, dim] = [3, 9, 4, 2, 5];
    let starts = [0u32, 3, 7];
    let caches = [60, 61].map(|seed| {
        let (cache, _) = pair(&cpu, seed, [batch, capacity, kv_heads, dim]);
        let new = values(seed + 2, batch * 4 * kv_heads * dim);
        let row = kv_heads * dim;
        let mut expected = read(&cache);
        for (b, &start) in starts.iter().enumerate() {
            for t in 0..4.min(capacity - start as usize) {
                let (to, from) = ((b * capacity + start as usize + t) * row, (b * 4 + t) * row);
                expected[to..to + row].copy_from_slice(&new[from..from + row]);
            }
        }
        let new = float(&cpu, &[batch, 4, kv_heads, dim], &new);
        ops::cache_append(&new, &unsigned(&cpu, &[batch], &starts), &cache).unwrap();
        assert_eq!(read(&cache), expected);
        let expected = reference::floats(&expected, [batch, capacity, kv_heads, dim], &Default::default());
        (cache, expected)
    });
    let [(k, k_ref), (v, v_ref)] = caches;
    let (q, q_ref) = pair(&cpu, 64, [batch, heads, dim]);
    let lengths = [1u32, 6, 9];
    for window in [None, Some(4)] {
        let places = unsigned(&cpu, &[batch], &lengths);
        let out = ops::attention_decode(&q, &k, &v, &places, window, 0.4).unwrap();
        let caches = [k_ref.clone(), v_ref.clone()];
        same(
            "out",
            &out,
            &reference::attention_decode(q_ref.clone(), caches, &lengths, window, 0.4),
        );
    }
}
