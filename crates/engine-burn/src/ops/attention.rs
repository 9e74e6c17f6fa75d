//! Attention by blocks of query rows of one head: the scores that are alive take `BLOCK * T` elements a core.

use std::ops::Range;

use anylora_engine::{Attention, Mask, Result, Tensor};
use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, DType as BurnType, Tensor as BurnTensor, TensorData};
use rayon::prelude::*;

use crate::simd::{Exp, Level, Max};
use crate::storage::into_bytes;
use crate::{Burn, view};

const OP: &str = "attention";

/// Query rows at a time.
pub(super) const BLOCK: usize = 128;

pub(crate) fn attention<B: Backend>(op: Attention<'_, Burn<B>>) -> Result<()> {
    let heads = Heads::new(&op)?;
    let [q, k, v] = [op.q, op.k, op.v].map(|tensor| heads.matrix(tensor));
    let (q, k, v) = (q?, k?, v?);
    let [batch, time, count, dim] = heads.shape;
    let blocks: Vec<(usize, usize, usize)> = (0..batch)
        .flat_map(|b| {
            (0..count).flat_map(move |head| (0..time).step_by(BLOCK).map(move |row| (b, head, row)))
        })
        .collect();
    let level = Level::detect();
    let compute = |&(b, head, start): &(usize, usize, usize)| -> Result<(Bytes, Vec<f32>)> {
        let queries = start..time.min(start + BLOCK);
        let keys = heads.keys_of(&queries);
        let (q, kv_head) = (heads.slice(&q, b, &queries, head), heads.kv_head(head));
        let scores = q.matmul(heads.slice(&k, b, &keys, kv_head).transpose());
        let mut scores = into_bytes(scores)?;
        let mut sums = vec![0.0; queries.len()];
        let mut lse = vec![0.0; queries.len()];
        for (i, row) in bytemuck::cast_slice_mut::<u8, f32>(&mut scores)
            .chunks_mut(keys.len())
            .enumerate()
        {
            heads.hide(b, queries.start + i, keys.start, row);
            let max = op.scale * level.run(Max(row));
            sums[i] = level.run(Exp {
                values: row,
                scale: op.scale,
                shift: max,
            });
            lse[i] = sums[i].ln() + max;
        }
        let out = heads
            .block(scores, &queries, &keys, &q_device(&op))
            .matmul(heads.slice(&v, b, &keys, kv_head));
        let mut out = into_bytes(out)?;
        for (row, sum) in bytemuck::cast_slice_mut::<u8, f32>(&mut out)
            .chunks_mut(dim)
            .zip(sums)
        {
            row.iter_mut().for_each(|out| *out /= sum);
        }
        Ok((out, lse))
    };
    let results: Vec<_> = blocks.par_iter().map(compute).collect();
    let (mut out, mut lse) = (vec![0.0; op.q.len()], vec![0.0; batch * time * count]);
    for (&(b, head, start), result) in blocks.iter().zip(results) {
        let (rows, lses) = result?;
        let rows: &[f32] = bytemuck::cast_slice(&rows);
        for (i, (row, value)) in rows.chunks(dim).zip(lses).enumerate() {
            let place = heads.place(b, start + i, head);
            lse[place] = value;
            out[place * dim..(place + 1) * dim].copy_from_slice(row);
        }
    }
    view::write(OP, op.out, out)?;
    view::write(OP, op.lse, lse)
}

fn q_device<B: Backend>(op: &Attention<'_, Burn<B>>) -> B::Device {
    op.q.backend().device().clone()
}

/// The heads of one call, and which keys their queries see.
pub(super) struct Heads {
    /// `[B, T, Hq, D]`.
    pub(super) shape: [usize; 4],
    pub(super) kv_heads: usize,
    mask: Mask,
    segments: Option<Vec<u32>>,
}

impl Heads {
    pub(super) fn new<B: Backend>(op: &Attention<'_, Burn<B>>) -> Result<Self> {
        let shape = op.q.shape();
        Ok(Self {
            shape: [shape[0], shape[1], shape[2], shape[3]],
            kv_heads: op.k.shape()[2],
            mask: op.mask,
            segments: op
                .segments
                .map(|segments| view::integers(OP, segments))
                .transpose()?,
        })
    }

    /// The key-value head that a query head reads.
    pub(super) const fn kv_head(&self, head: usize) -> usize {
        head / (self.shape[2] / self.kv_heads)
    }

    /// The index of a query's row of D values in q.
    pub(super) const fn place(&self, batch: usize, row: usize, head: usize) -> usize {
        (batch * self.shape[1] + row) * self.shape[2] + head
    }

    /// `[B, T, H, D]` as a matrix `[B * T, H * D]`.
    pub(super) fn matrix<B: Backend>(&self, tensor: &Tensor<Burn<B>>) -> Result<BurnTensor<B, 2>> {
        let [batch, time, _, dim] = self.shape;
        view::matrix(OP, tensor, [batch * time, tensor.shape()[2] * dim])
    }

    /// Rows of one head of one sequence, `[rows, D]`, without a copy.
    pub(super) fn slice<B: Backend>(
        &self,
        matrix: &BurnTensor<B, 2>,
        batch: usize,
        rows: &Range<usize>,
        head: usize,
    ) -> BurnTensor<B, 2> {
        let [_, time, _, dim] = self.shape;
        let first = batch * time;
        matrix
            .clone()
            .slice([first + rows.start..first + rows.end, head * dim..(head + 1) * dim])
    }

    /// A block of scores as burn takes it, `[queries, keys]`.
    pub(super) fn block<B: Backend>(
        &self,
        scores: Bytes,
        queries: &Range<usize>,
        keys: &Range<usize>,
        device: &B::Device,
    ) -> BurnTensor<B, 2> {
        let data = TensorData::from_bytes(scores, [queries.len(), keys.len()], BurnType::F32);
        BurnTensor::from_data(data, (device, BurnType::F32))
    }

    /// The keys that one query may see by its place.
    fn keys(&self, query: usize) -> Range<usize> {
        let time = self.shape[1];
        let Mask { causal, window } = self.mask;
        let end = if causal {
            query + 1
        } else {
            window.map_or(time, |window| time.min(query.saturating_add(window)))
        };
        window.map_or(0, |window| (query + 1).saturating_sub(window))..end
    }

    /// The keys that some query of a block may see.
    pub(super) fn keys_of(&self, queries: &Range<usize>) -> Range<usize> {
        self.keys(queries.start).start..self.keys(queries.end - 1).end
    }

    /// Sets the scores of the keys that a query doesn't see to minus infinity; `row` starts at key `first`.
    pub(super) fn hide(&self, batch: usize, query: usize, first: usize, row: &mut [f32]) {
        let keys = self.keys(query);
        let (start, end) = (keys.start - first, keys.end - first);
        row[..start].fill(f32::NEG_INFINITY);
        row[end..].fill(f32::NEG_INFINITY);
        let Some(segments) = &self.segments else { return };
        let segments = &segments[batch * self.shape[1]..(batch + 1) * self.shape[1]];
        for (score, segment) in row[start..end].iter_mut().zip(&segments[keys]) {
            if *segment != segments[query] {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}
