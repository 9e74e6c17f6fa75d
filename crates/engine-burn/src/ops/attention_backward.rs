use std::ops::Range;

use anylora_engine::{AttentionBackward, Result};
use burn::tensor::backend::Backend;
use rayon::prelude::*;

use super::attention::{BLOCK, Heads};
use crate::simd::{Kernel, Level, Simd, exp};
use crate::storage::into_bytes;
use crate::{Burn, parallel, view};

const OP: &str = "attention_backward";

/// With `p = exp(s - lse)` and `delta = sum(dout * out)`: `dv = p^T dout`, `ds = p * (dout v^T - delta)`,
/// `dq = scale * ds k`, `dk = scale * ds^T q`; one query head a task, the scores recomputed block by block.
pub(crate) fn attention_backward<B: Backend>(op: AttentionBackward<'_, Burn<B>>) -> Result<()> {
    let heads = Heads::new(&op.forward)?;
    let [batch, time, count, dim] = heads.shape;
    let deltas = deltas(&op, dim)?;
    let lse: &[f32] = &view::floats(OP, op.forward.lse)?;
    let level = Level::detect();
    let tensors = [op.forward.q, op.forward.k, op.forward.v, op.dout].map(|tensor| heads.matrix(tensor));
    let [q, k, v, dout] = tensors;
    let (q, k, v, dout) = (q?, k?, v?, dout?);
    let device = op.forward.q.backend().device();
    let scale = op.forward.scale;
    let one_head = |task: usize| -> Result<HeadGradient> {
        let (b, head) = (task / count, task % count);
        let mut gradient = HeadGradient::new(time * dim);
        for start in (0..time).step_by(BLOCK) {
            let queries = start..time.min(start + BLOCK);
            let keys = heads.keys_of(&queries);
            let (q, dout) = (
                heads.slice(&q, b, &queries, head),
                heads.slice(&dout, b, &queries, head),
            );
            let kv_head = heads.kv_head(head);
            let (k, v) = (
                heads.slice(&k, b, &keys, kv_head),
                heads.slice(&v, b, &keys, kv_head),
            );
            let mut p = into_bytes(q.clone().matmul(k.clone().transpose()))?;
            let mut ds = into_bytes(dout.clone().matmul(v.transpose()))?;
            let rows = bytemuck::cast_slice_mut::<u8, f32>(&mut p).chunks_mut(keys.len());
            let rows = rows.zip(bytemuck::cast_slice_mut::<u8, f32>(&mut ds).chunks_mut(keys.len()));
            for (i, (p, ds)) in rows.enumerate() {
                heads.hide(b, start + i, keys.start, p);
                let place = heads.place(b, start + i, head);
                level.run(Row {
                    p,
                    ds,
                    scale,
                    lse: lse[place],
                    delta: deltas[place],
                });
            }
            let p = heads.block(p, &queries, &keys, device);
            let ds = heads.block(ds, &queries, &keys, device);
            let spans = [span(&queries, dim), span(&keys, dim), span(&keys, dim)];
            let parts = [
                ds.clone().matmul(k),
                ds.transpose().matmul(q),
                p.transpose().matmul(dout),
            ];
            for ((sum, span), part) in gradient.parts().into_iter().zip(spans).zip(parts) {
                parallel::add_scaled(&mut sum[span], 1.0, bytemuck::cast_slice(&into_bytes(part)?));
            }
        }
        Ok(gradient)
    };
    let gradients: Vec<_> = (0..batch * count).into_par_iter().map(one_head).collect();
    let mut dq = vec![0.0; op.dq.len()];
    let (mut dk, mut dv) = (vec![0.0; op.dk.len()], vec![0.0; op.dv.len()]);
    for (task, gradient) in gradients.into_iter().enumerate() {
        let (b, head, gradient) = (task / count, task % count, gradient?);
        let width = heads.kv_heads;
        add_head(&mut dq, &gradient.dq, dim, |row| heads.place(b, row, head));
        // Heads that share a key-value head are added in order.
        let place = |row: usize| (b * time + row) * width + heads.kv_head(head);
        add_head(&mut dk, &gradient.dk, dim, place);
        add_head(&mut dv, &gradient.dv, dim, place);
    }
    view::write(OP, op.dq, dq)?;
    view::write(OP, op.dk, dk)?;
    view::write(OP, op.dv, dv)
}

/// A query's scores and the gradients of its weights, which become `p` and `ds`.
struct Row<'a> {
    p: &'a mut [f32],
    ds: &'a mut [f32],
    scale: f32,
    lse: f32,
    delta: f32,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (p, ds) in self.p.iter_mut().zip(self.ds) {
            *p = exp(self.scale * *p - self.lse);
            *ds = self.scale * *p * (*ds - self.delta);
        }
    }
}

/// The share of one query head, `[T, D]` each.
struct HeadGradient {
    dq: Vec<f32>,
    dk: Vec<f32>,
    dv: Vec<f32>,
}

impl HeadGradient {
    fn new(len: usize) -> Self {
        Self {
            dq: vec![0.0; len],
            dk: vec![0.0; len],
            dv: vec![0.0; len],
        }
    }

    fn parts(&mut self) -> [&mut Vec<f32>; 3] {
        [&mut self.dq, &mut self.dk, &mut self.dv]
    }
}

/// `sum(dout * out)` of each row, also written to the operation's scratch.
fn deltas<B: Backend>(op: &AttentionBackward<'_, Burn<B>>, dim: usize) -> Result<Vec<f32>> {
    let out: &[f32] = &view::floats(OP, op.forward.out)?;
    let dout: &[f32] = &view::floats(OP, op.dout)?;
    let mut deltas = vec![0.0; out.len() / dim];
    parallel::parts(&mut deltas, |start, deltas| {
        for (i, delta) in (start..).zip(deltas) {
            let row = i * dim..(i + 1) * dim;
            *delta = parallel::dot(&out[row.clone()], &dout[row]);
        }
    });
    view::write(OP, op.delta, deltas.clone())?;
    Ok(deltas)
}

fn span(rows: &Range<usize>, dim: usize) -> Range<usize> {
    rows.start * dim..rows.end * dim
}

fn add_head(out: &mut [f32], head: &[f32], dim: usize, place: impl Fn(usize) -> usize) {
    for (row, values) in head.chunks(dim).enumerate() {
        let start = place(row) * dim;
        parallel::add_scaled(&mut out[start..start + dim], 1.0, values);
    }
}
