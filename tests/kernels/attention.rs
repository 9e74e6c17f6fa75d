//! Attention and its backward.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use anylora_engine::ops::{self, AttentionInput};
use anylora_engine::{Attention, AttentionBackward, Backend, DType, Error, Mask};
use anylora_engine_burn::reference;
use anylora_tests::{
    Indices, Operand, Output, Tolerance, cases, close, gpus, low_binding, on_each_activation,
    on_every_device, on_every_gpu, read, same_bits,
};
use proptest::prelude::*;

const CAUSAL: Mask = Mask {
    causal: true,
    window: None,
};
const FULL: Mask = Mask {
    causal: false,
    window: None,
};

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    time: usize,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    /// How many segments the tokens belong to, in runs and once more at the end; 0 for none.
    segments: usize,
    mask: Mask,
}

impl Case {
    fn new([batch, time, heads, kv_heads, dim]: [usize; 5], segments: usize, mask: Mask) -> Self {
        Self {
            batch,
            time,
            heads,
            kv_heads,
            dim,
            segments,
            mask,
        }
    }

    fn scale(&self) -> f32 {
        1.5 / (self.dim as f32).sqrt()
    }

    fn segment_ids(&self) -> Option<Indices<2>> {
        let run = (self.time / self.segments.max(1)).max(1);
        let ids: Vec<u32> = (0..self.batch * self.time)
            .map(|i| (((i % self.time + i / self.time) / run) % self.segments.max(1)) as u32)
            .collect();
        (self.segments > 0).then(|| Indices::unsigned([self.batch, self.time], &ids))
    }

    fn operands(&self, act: DType) -> [Operand<4>; 4] {
        let query = [self.batch, self.time, self.heads, self.dim];
        let key = [self.batch, self.time, self.kv_heads, self.dim];
        [(1, query), (2, key), (3, key), (4, query)].map(|(seed, shape)| Operand::random(seed, shape, act))
    }
}

/// out, lse, dq, dk, dv.
fn expected(case: &Case, act: DType) -> [Vec<f32>; 5] {
    let [q, k, v, dout] = case.operands(act);
    let leaves = [q.leaf(), k.leaf(), v.leaf()];
    let segments = case.segment_ids().map(|segments| segments.leaf());
    let (out, lse) = reference::attention(leaves.clone(), segments, case.mask, case.scale());
    let gradients = (out.clone() * dout.leaf()).sum().backward();
    let [dq, dk, dv] = leaves.map(|leaf| reference::gradient(&leaf, &gradients));
    [reference::to_vec(&out), reference::to_vec(&lse), dq, dk, dv]
}

/// [`expected`] by type, computed where it is asked for.
fn in_each_type(case: &Case) -> impl Fn(DType) -> Rc<[Vec<f32>; 5]> {
    let known = RefCell::new(HashMap::new());
    move |act| {
        Rc::clone(
            known
                .borrow_mut()
                .entry(act)
                .or_insert_with(|| Rc::new(expected(case, act))),
        )
    }
}

fn check<B: Backend>(device: &B, act: DType, case: &Case, expected: &[Vec<f32>; 5]) {
    let [out, lse, dq, dk, dv] = expected;
    let [q, k, v, d_out] = case.operands(act);
    let (q, k, v, dout) = (
        q.on(device),
        k.view_on(device),
        v.on(device),
        d_out.view_on(device),
    );
    let segments = case.segment_ids().map(|segments| segments.view_on(device));
    let forward_terms = case.dim + case.time;
    let tolerance = Tolerance::of(act).terms(forward_terms);
    // Scores, their gradients and the sums over the queries of a group; out is stored before delta reads it.
    let group = case.heads / case.kv_heads;
    let backward = Tolerance::of(act)
        .terms(2 * case.dim + case.time * (1 + group))
        .roundings(2);

    let at = |shape: &[usize], dtype| Output::new(device, shape, dtype);
    let (query, key) = (q.shape().to_vec(), k.shape().to_vec());
    let outputs = [at(&query, act), at(&query[..3], DType::F32)];
    let forward = Attention {
        q: &q,
        k: &k,
        v: &v,
        segments: segments.as_ref(),
        mask: case.mask,
        scale: case.scale(),
        out: &outputs[0].view,
        lse: &outputs[1].view,
    };
    device.attention(forward).unwrap();
    close("out", forward.out, out, tolerance);
    close(
        "lse",
        forward.lse,
        lse,
        Tolerance::of(DType::F32)
            .terms(forward_terms)
            .scale(1.0 + size(lse)),
    );

    let gradients = [
        at(&query, act),
        at(&key, act),
        at(&key, act),
        at(&query[..3], DType::F32),
    ];
    device
        .attention_backward(AttentionBackward {
            forward,
            dout: &dout,
            delta: &gradients[3].view,
            dq: &gradients[0].view,
            dk: &gradients[1].view,
            dv: &gradients[2].view,
        })
        .unwrap();
    for (name, found, expected) in [
        ("dq", &gradients[0], dq),
        ("dk", &gradients[1], dk),
        ("dv", &gradients[2], dv),
    ] {
        // A query that sees one key has no gradient in q and k: what cancels there is of the size of dout * v.
        close(name, &found.view, expected, backward.scale(1.0 + size(expected)));
    }
    for output in outputs.iter().chain(&gradients) {
        output.check_around();
    }
}

fn size(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

/// On fewer devices, for what takes long.
fn in_each_activation(case: &Case) {
    let expected = in_each_type(case);
    on_each_activation!(|device, act| {
        check(device, act, case, &expected(act));
    });
}

fn everywhere(case: &Case) {
    let expected = in_each_type(case);
    on_every_device!(|device, act| {
        check(device, act, case, &expected(act));
    });
}

fn masks() -> impl Strategy<Value = Mask> {
    (any::<bool>(), prop::option::of(1_usize..80)).prop_map(|(causal, window)| Mask { causal, window })
}

#[test]
fn attention_of_any_shape() {
    let shapes = (1_usize..3, 1_usize..70, 1_usize..4, 1_usize..3, 1_usize..40);
    cases(
        12,
        (shapes, 0_usize..4, masks()),
        |((batch, time, group, kv_heads, dim), segments, mask)| {
            let heads = group * kv_heads;
            everywhere(&Case::new([batch, time, heads, kv_heads, dim], segments, mask));
        },
    );
}

#[test]
fn attention_at_the_edges_of_tiles() {
    for time in [1, 31, 32, 33, 64, 65] {
        everywhere(&Case::new([1, time, 2, 1, 8], 0, CAUSAL));
    }
    everywhere(&Case::new([2, 33, 3, 3, 4], 2, FULL));
}

#[test]
fn attention_windows_that_hide_whole_tiles() {
    for causal in [true, false] {
        for window in [1, 5, 33, 200] {
            let mask = Mask {
                causal,
                window: Some(window),
            };
            in_each_activation(&Case::new([1, 100, 2, 1, 4], 0, mask));
        }
    }
}

#[test]
fn attention_of_segments() {
    let windowed = Mask {
        causal: true,
        window: Some(9),
    };
    for mask in [CAUSAL, FULL, windowed] {
        // Runs that end within tiles and at their edges; a segment that comes back later.
        everywhere(&Case::new([2, 96, 3, 1, 4], 3, mask));
        everywhere(&Case::new([1, 70, 2, 2, 4], 35, mask));
    }
}

#[test]
fn attention_of_all_head_sizes() {
    for dim in [1, 3, 36, 64, 68, 128, 132, 255, 256] {
        in_each_activation(&Case::new([1, 34, 2, 1, dim], 0, CAUSAL));
    }
}

#[test]
fn attention_above_the_binding_limit() {
    // A sequence takes 40 * 2 * 16 elements, 5120 or 2560 bytes: one or three a window.
    let gpu = low_binding(8192);
    let split = Case::new([5, 40, 2, 1, 16], 3, CAUSAL);
    // Here lse is split too: 20 * 64 * 2 f32 are more than fit whole.
    let small_too = Case::new([20, 64, 2, 1, 4], 2, CAUSAL);
    for case in [split, small_too] {
        for act in [DType::F32, DType::F16] {
            check(&gpu, act, &case, &expected(&case, act));
        }
    }
    let case = Case::new([2, 72, 2, 1, 16], 0, CAUSAL);
    let [q, k, v, _] = case.operands(DType::F32).map(|operand| operand.on(&gpu));
    let input = AttentionInput {
        q: &q,
        k: &k,
        v: &v,
        segments: None,
        mask: CAUSAL,
        scale: 1.0,
    };
    let error = ops::attention(&input).unwrap_err();
    assert!(
        matches!(
            error,
            Error::BindingLimit {
                unit: "sequence",
                bytes: 9216,
                ..
            }
        ),
        "{error}"
    );
}

/// Scores of several hundreds: the exponentials overflow where the maximum isn't taken off.
#[test]
fn attention_of_large_scores() {
    let case = Case::new([1, 40, 2, 1, 16], 2, CAUSAL);
    on_every_gpu!(|device, act| {
        let [mut q, k, v, _] = case.operands(act);
        q.values.iter_mut().for_each(|value| *value *= 512.0);
        let segments = case.segment_ids().unwrap();
        let leaves = [q.leaf(), k.leaf(), v.leaf()];
        let (out, lse) = reference::attention(leaves, Some(segments.leaf()), case.mask, 1.0);
        let (q, k, v, segments) = (q.on(device), k.on(device), v.on(device), segments.on(device));
        let input = AttentionInput {
            q: &q,
            k: &k,
            v: &v,
            segments: Some(&segments),
            mask: case.mask,
            scale: 1.0,
        };
        let (found, found_lse) = ops::attention(&input).unwrap();
        let lse = reference::to_vec(&lse);
        assert!(size(&lse) > 500.0);
        let tolerance = Tolerance::of(DType::F32).terms(case.dim);
        close("lse", &found_lse, &lse, tolerance);
        // A score's error is relative to the score, and the probability's is as large as that.
        close(
            "out",
            &found,
            &reference::to_vec(&out),
            Tolerance::of(act).terms(case.dim).scale(size(&lse)),
        );
    });
}

/// More workgroups than one dimension of a launch has. A token that is alone sees itself only.
#[test]
fn attention_of_very_many_sequences() {
    let gpu = &gpus()[0];
    let case = Case::new([66_000, 1, 1, 1, 4], 0, CAUSAL);
    let [q, k, v, _] = case.operands(DType::F32);
    let [on_q, on_k, on_v] = [&q, &k, &v].map(|operand| operand.on(gpu));
    let input = AttentionInput {
        q: &on_q,
        k: &on_k,
        v: &on_v,
        segments: None,
        mask: CAUSAL,
        scale: 1.0,
    };
    let (out, _) = ops::attention(&input).unwrap();
    assert_eq!(read(&out), v.values);
}

#[test]
fn attention_gives_the_same_bits() {
    let case = Case::new([2, 70, 4, 2, 12], 3, CAUSAL);
    on_every_gpu!(|device, act| {
        let [q, k, v, dout] = case.operands(act).map(|operand| operand.on(device));
        let segments = case.segment_ids().map(|segments| segments.on(device));
        let input = AttentionInput {
            q: &q,
            k: &k,
            v: &v,
            segments: segments.as_ref(),
            mask: case.mask,
            scale: case.scale(),
        };
        same_bits("attention", || {
            let (out, lse) = ops::attention(&input).unwrap();
            let mut all = ops::attention_backward(&input, &out, &lse, &dout)
                .unwrap()
                .to_vec();
            all.extend([out, lse]);
            all
        });
    });
}
