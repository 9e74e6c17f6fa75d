//! Attention forward and backward in GFLOP/s, a decoded token and an appended one in bytes/s.
//!
//! FLOPs are those of the matrix products under the causal mask, which hides about half of the scores: forward
//! `2 * 2 * B * Hq * D * T * (T + 1) / 2`, backward two and a half times as many, whatever a kernel recomputes.
//! A decoded token's bytes are the keys and values that it sees, an appended token's those read and written.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::ops::{self, AttentionInput};
use anylora_engine::{Backend, DType, Mask, MemoryKind, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Hq, Hkv, D: of SmolLM2-135M, and of Llama 3.2 1B.
const HEADS: [[usize; 3]; 2] = [[9, 3, 64], [32, 8, 64]];

fn train<B: Backend>(criterion: &mut Criterion, gpu: &B, act: DType) -> Result<()> {
    // A GPU needs work for all its cores; a software adapter's time is better spent elsewhere.
    let batch = if is_software(gpu) { 1 } else { 8 };
    for [heads, kv_heads, dim] in HEADS {
        for time in [128, 512] {
            let name = format!("{batch} x {time} x {heads}/{kv_heads} x {dim} {act}");
            let query = tensor(gpu, &[batch, time, heads, dim], act)?;
            let [k, v] = [(); 2].map(|()| tensor(gpu, &[batch, time, kv_heads, dim], act));
            let (k, v) = (k?, v?);
            let input = AttentionInput {
                q: &query,
                k: &k,
                v: &v,
                segments: None,
                mask: Mask {
                    causal: true,
                    window: None,
                },
                scale: 0.125,
            };
            let flops = (2 * batch * heads * dim * time * (time + 1)) as u64;
            let forward = ["attention", &name];
            bench(criterion, gpu, forward, Throughput::Elements(flops), || {
                ops::attention(&input).map(drop)
            });
            let (out, lse) = ops::attention(&input)?;
            let dout = tensor(gpu, query.shape(), act)?;
            let flops = flops * 5 / 2;
            let backward = ["attention_backward", &name];
            bench(criterion, gpu, backward, Throughput::Elements(flops), || {
                ops::attention_backward(&input, &out, &lse, &dout).map(drop)
            });
        }
    }
    Ok(())
}

fn generate<B: Backend>(criterion: &mut Criterion, gpu: &B, act: DType) -> Result<()> {
    for [heads, kv_heads, dim] in HEADS {
        for length in [512_u32, 4096] {
            let name = format!("{length} of 4096 x {heads}/{kv_heads} x {dim} {act}");
            let q = tensor(gpu, &[1, heads, dim], act)?;
            let [k, v] = [(); 2].map(|()| tensor(gpu, &[1, 4096, kv_heads, dim], act));
            let (k, v) = (k?, v?);
            let row = kv_heads * dim * act.size();
            let places = |value| Tensor::from_u32(gpu, &[1], MemoryKind::Activations, &[value]);
            let lengths = places(length)?;
            let bytes = Throughput::Bytes(2 * u64::from(length) * row as u64);
            bench(criterion, gpu, ["attention_decode", &name], bytes, || {
                ops::attention_decode(&q, &k, &v, &lengths, None, 0.125).map(drop)
            });
            let starts = places(length - 1)?;
            let new = tensor(gpu, &[1, 1, kv_heads, dim], act)?;
            let bytes = Throughput::Bytes(2 * row as u64);
            bench(criterion, gpu, ["cache_append", &name], bytes, || {
                ops::cache_append(&new, &starts, &k)
            });
        }
    }
    Ok(())
}

fn attention(criterion: &mut Criterion) {
    on_device!(|gpu| for act in activations(gpu) {
        if let Err(error) = train(criterion, gpu, act).and_then(|()| generate(criterion, gpu, act)) {
            panic!("{error}");
        }
    });
}

criterion_group!(benches, attention);
criterion_main!(benches);
