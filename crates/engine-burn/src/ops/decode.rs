use std::ops::Range;

use anylora_engine::{AttentionDecode, Result, Tensor};
use burn::tensor::backend::Backend;

use crate::simd::{Kernel, Level, Simd, add_scaled, dot};
use crate::{Burn, parallel, team, view};

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
    let level = Level::detect();
    team::parts(&mut result, dim, |start, out| {
        let task = start / dim;
        let (sequence, head) = (task / heads, task % heads);
        let length = lengths[sequence] as usize;
        let first = window.map_or(0, |window| length.saturating_sub(window));
        let from = (sequence * capacity * kv_heads + head / (heads / kv_heads)) * dim;
        level.run(Head {
            q: &q[start..start + dim],
            keys: &keys[from..],
            values: &values[from..],
            stride: kv_heads * dim,
            seen: first..length.min(capacity),
            scale,
            out,
        });
    });
    view::write(OP, out, result)
}

/// One query head over the keys that it sees: q, out `[D]`; keys and values `[S, D]` with rows `stride` apart.
struct Head<'a> {
    q: &'a [f32],
    keys: &'a [f32],
    values: &'a [f32],
    stride: usize,
    seen: Range<usize>,
    scale: f32,
    /// Zeros.
    out: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let dim = self.q.len();
        let row = |key: usize| key * self.stride..key * self.stride + dim;
        let mut scores = Vec::with_capacity(self.seen.len());
        for key in self.seen.clone() {
            // SAFETY: the processor is the caller's promise.
            scores.push(self.scale * unsafe { dot::<S>(self.q, &self.keys[row(key)]) });
        }
        let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|score| *score = (*score - max).exp());
        let sum = parallel::sum(&scores);
        for (key, score) in self.seen.zip(&scores) {
            // SAFETY: the processor is the caller's promise.
            unsafe { add_scaled::<S>(self.out, score / sum, &self.values[row(key)]) };
        }
    }
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
