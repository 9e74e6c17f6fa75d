use anylora_engine::{AttentionDecode, Result, Tensor};
use burn::tensor::backend::Backend;

use crate::{Burn, parallel, view};

pub(crate) fn attention_decode<B: Backend>(op: AttentionDecode<'_, Burn<B>>) -> Result<()> {
    const OP: &str = "attention_decode";
    let AttentionDecode {
        q,
        k_cache,
        v_cache,
        lengths,
        window,
        scale,
        out,
    } = op;
    let (heads, dim) = (q.shape()[1], q.shape()[2]);
    let (capacity, kv_heads) = (k_cache.shape()[1], k_cache.shape()[2]);
    let lengths = view::integers::<B, u32>(OP, lengths)?;
    let (q, keys, values) = (
        view::floats(OP, q)?,
        view::floats(OP, k_cache)?,
        view::floats(OP, v_cache)?,
    );
    let mut result = vec![0.0; q.len()];
    parallel::tasks(&mut result, dim, |task, out| {
        let (sequence, head) = (task / heads, task % heads);
        let length = lengths[sequence] as usize;
        let first = window.map_or(0, |window| length.saturating_sub(window));
        let kv_head = head / (heads / kv_heads);
        let row = |key: usize| {
            let start = ((sequence * capacity + key) * kv_heads + kv_head) * dim;
            start..start + dim
        };
        let q = &q[task * dim..(task + 1) * dim];
        let seen = first..length.min(capacity);
        let mut scores: Vec<f32> = seen
            .clone()
            .map(|key| scale * parallel::dot(q, &keys[row(key)]))
            .collect();
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|score| *score = (*score - max).exp());
        let sum = parallel::sum(&scores);
        for (key, score) in seen.zip(&scores) {
            parallel::add_scaled(out, score / sum, &values[row(key)]);
        }
    });
    view::write(OP, out, result)
}

pub(crate) fn cache_append<B: Backend>(
    new: &Tensor<Burn<B>>,
    starts: &Tensor<Burn<B>>,
    cache: &Tensor<Burn<B>>,
) -> Result<()> {
    const OP: &str = "cache_append";
    let (time, capacity) = (new.shape()[1], cache.shape()[1]);
    let row = new.shape()[2] * new.shape()[3];
    let starts = view::integers::<B, u32>(OP, starts)?;
    let new = view::floats(OP, new)?;
    view::write_some(OP, cache, |cache| {
        for (sequence, &start) in starts.iter().enumerate() {
            let start = (start as usize).min(capacity);
            let len = time.min(capacity - start) * row;
            let to = (sequence * capacity + start) * row;
            let from = sequence * time * row;
            cache[to..to + len].copy_from_slice(&new[from..from + len]);
        }
    })
}
