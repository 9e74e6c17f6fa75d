use anylora_engine::Mask;
use burn::tensor::backend::Backend;
use burn::tensor::{Bool, Int, Tensor};

use super::integers;

/// The half-split rotation of [`anylora_engine::Backend::rope`]: x `[M, H, D]`, positions `[M]` within the table,
/// table `[P, R]` with cosines, then sines; R even and at most D.
pub fn rope<B: Backend>(
    x: Tensor<B, 3>,
    positions: Tensor<B, 1, Int>,
    table: Tensor<B, 2>,
    inverse: bool,
) -> Tensor<B, 3> {
    let [rows, heads, dim] = x.dims();
    let rotary = table.dims()[1];
    let half = rotary / 2;
    let angles = table.select(0, positions).reshape([rows, 1, rotary]);
    let cos = angles.clone().narrow(2, 0, half);
    let sin = angles
        .narrow(2, half, half)
        .mul_scalar(if inverse { -1.0 } else { 1.0 });
    let first = x.clone().narrow(2, 0, half);
    let second = x.clone().narrow(2, half, half);
    let rotated = Tensor::cat(
        vec![
            first.clone() * cos.clone() - second.clone() * sin.clone(),
            second * cos + first * sin,
        ],
        2,
    );
    if rotary == dim {
        return rotated;
    }
    Tensor::cat(vec![rotated, x.slice([0..rows, 0..heads, rotary..dim])], 2)
}

/// Which keys (columns) each query (row) sees, `[B, T, T]`: segments `[B, T]`.
pub fn visible<B: Backend>(
    [batch, time]: [usize; 2],
    segments: Option<Tensor<B, 2, Int>>,
    mask: Mask,
    device: &B::Device,
) -> Tensor<B, 3, Bool> {
    let place = Tensor::<B, 1, Int>::arange(0..time as i64, device);
    // How far the key lies behind the query, [T, T].
    let behind = place.clone().reshape([time, 1]) - place.reshape([1, time]);
    let mut seen = behind.clone().greater_equal_elem(-(time as i64));
    if mask.causal {
        seen = seen.bool_and(behind.clone().greater_equal_elem(0));
    }
    if let Some(window) = mask.window {
        seen = seen.bool_and(behind.abs().lower_elem(window as i64));
    }
    let seen = seen.unsqueeze::<3>().expand([batch, time, time]);
    match segments {
        Some(segments) => {
            let of_query = segments
                .clone()
                .reshape([batch, time, 1])
                .expand([batch, time, time]);
            let of_key = segments.reshape([batch, 1, time]).expand([batch, time, time]);
            seen.bool_and(of_query.equal(of_key))
        }
        None => seen,
    }
}

/// `softmax(scale * q k^T) v` over the keys that [`visible`] names, and the log of the sum of the exponentials:
/// q `[B, T, Hq, D]`, k and v `[B, T, Hkv, D]`, segments `[B, T]`; out `[B, T, Hq, D]`, lse `[B, T, Hq]`. Query head
/// h reads key-value head `h / (Hq / Hkv)`.
pub fn attention<B: Backend>(
    [q, k, v]: [Tensor<B, 4>; 3],
    segments: Option<Tensor<B, 2, Int>>,
    mask: Mask,
    scale: f32,
) -> (Tensor<B, 4>, Tensor<B, 3>) {
    let [batch, time, heads, _] = q.dims();
    let seen = visible([batch, time], segments, mask, &q.device());
    let hidden = seen
        .bool_not()
        .reshape([batch, 1, time, time])
        .expand([batch, heads, time, time]);
    let scores = q
        .swap_dims(1, 2)
        .matmul(share(k, heads).swap_dims(2, 3))
        .mul_scalar(scale);
    let (probability, lse) = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY));
    let out = probability.matmul(share(v, heads)).swap_dims(1, 2);
    (out, lse.squeeze_dim::<3>(3).swap_dims(1, 2))
}

/// One new token a sequence: q `[B, Hq, D]`, caches `[B, S, Hkv, D]`; sequence b sees the keys below `lengths[b]`
/// (at least 1, itself at `lengths[b] - 1`), with a window only those at a distance below it. Out `[B, Hq, D]`.
pub fn attention_decode<B: Backend>(
    q: Tensor<B, 3>,
    [k_cache, v_cache]: [Tensor<B, 4>; 2],
    lengths: &[u32],
    window: Option<usize>,
    scale: f32,
) -> Tensor<B, 3> {
    let [batch, heads, dim] = q.dims();
    let capacity = k_cache.dims()[1];
    let hidden = lengths.iter().flat_map(|&length| {
        let length = length as usize;
        (0..capacity)
            .map(move |key| i32::from(key >= length || window.is_some_and(|w| length - 1 - key >= w)))
    });
    let hidden: Vec<i32> = hidden.collect();
    let hidden = integers::<B, 4>(&hidden, [batch, 1, 1, capacity], &q.device()).equal_elem(1);
    let q = q.reshape([batch, heads, 1, dim]);
    let scores = q.matmul(share(k_cache, heads).swap_dims(2, 3)).mul_scalar(scale);
    let hidden = hidden.expand([batch, heads, 1, capacity]);
    let (probability, _) = softmax(scores.mask_fill(hidden, f32::NEG_INFINITY));
    probability
        .matmul(share(v_cache, heads))
        .reshape([batch, heads, dim])
}

/// `[B, T, Hkv, D]` to `[B, heads, T, D]`, each key-value head repeated for the query heads that read it.
fn share<B: Backend>(x: Tensor<B, 4>, heads: usize) -> Tensor<B, 4> {
    let [batch, time, kv_heads, dim] = x.dims();
    let group = heads / kv_heads;
    let x = x.swap_dims(1, 2).reshape([batch, kv_heads, 1, time, dim]);
    x.expand([batch, kv_heads, group, time, dim])
        .reshape([batch, heads, time, dim])
}

/// The softmax of the last dimension, and its log-sum-exp with that dimension 1.
fn softmax<B: Backend>(scores: Tensor<B, 4>) -> (Tensor<B, 4>, Tensor<B, 4>) {
    let max = scores.clone().max_dim(3).detach();
    let exponentials = (scores - max.clone()).exp();
    let sum = exponentials.clone().sum_dim(3);
    (exponentials / sum.clone(), sum.log() + max)
}
