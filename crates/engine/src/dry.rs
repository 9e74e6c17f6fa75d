//! The dry backend: the same calls, no device. It counts memory in its ledger, and each kernel's work.

use std::future::{Future, ready};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    AdamW, Attention, AttentionBackward, AttentionDecode, Backend, Caps, DType, DeviceInfo, DeviceKind,
    Error, Ledger, Linear, LinearBackward, LoraDown, LoraGrad, Result, Tensor, Weight,
};

/// The work of some kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Kernel launches.
    pub calls: u64,
    /// Floating-point operations of the products (a multiply-add counts two); elementwise work isn't counted.
    pub flops: f64,
    /// Bytes read and written once each.
    pub bytes: f64,
    /// Those of the kernels that count no operations: what is added, normalized, gathered, copied.
    pub elementwise_bytes: f64,
}

/// A device that allocates nothing and computes nothing. A clone counts into the same sums.
#[derive(Clone)]
pub struct Dry(Arc<Inner>);

struct Inner {
    info: DeviceInfo,
    caps: Caps,
    ledger: Ledger,
    cost: Mutex<Cost>,
    largest: AtomicU64,
}

impl Dry {
    /// A plan's device with a real device's limits.
    pub fn new(caps: Caps, memory_limit: Option<u64>) -> Self {
        let info = DeviceInfo {
            engine: "dry",
            name: "dry run".to_owned(),
            backend: "none".to_owned(),
            driver: String::new(),
            kind: DeviceKind::Dry,
        };
        Self(Arc::new(Inner {
            info,
            caps,
            ledger: Ledger::with_limit(memory_limit),
            cost: Mutex::default(),
            largest: AtomicU64::new(0),
        }))
    }

    /// The work so far.
    pub fn cost(&self) -> Cost {
        *self.0.cost.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest allocation since this was asked last, in bytes.
    pub fn take_largest(&self) -> u64 {
        self.0.largest.swap(0, Ordering::Relaxed)
    }

    fn record(&self, flops: f64, tensors: &[&Tensor<Self>], other_bytes: usize) -> Result<()> {
        let cost = &mut *self.0.cost.lock().unwrap_or_else(PoisonError::into_inner);
        cost.calls += 1;
        cost.flops += flops;
        let bytes =
            tensors.iter().map(|tensor| tensor.size_bytes()).sum::<usize>() as f64 + other_bytes as f64;
        cost.bytes += bytes;
        if flops == 0.0 {
            cost.elementwise_bytes += bytes;
        }
        Ok(())
    }
}

/// The key-query pairs of one head that a mask leaves, over T positions.
fn visible_pairs(op: &Attention<'_, Dry>) -> f64 {
    let time = op.q.shape()[1];
    let window = op.mask.window.unwrap_or(time).min(time);
    let pairs: usize = (0..time)
        .map(|query| {
            let before = (query + 1).min(window);
            let after = if op.mask.causal {
                0
            } else {
                (time - 1 - query).min(window - 1)
            };
            before + after
        })
        .sum();
    pairs as f64
}

/// Multiply-adds of `q k^T` or `p v` over all sequences and heads, twice.
fn attention_flops(op: &Attention<'_, Dry>) -> f64 {
    let shape = op.q.shape();
    2.0 * visible_pairs(op) * (shape[0] * shape[2] * shape[3]) as f64
}

impl Backend for Dry {
    type Storage = ();

    fn info(&self) -> &DeviceInfo {
        &self.0.info
    }

    fn caps(&self) -> &Caps {
        &self.0.caps
    }

    fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    fn allocate(&self, _len: usize, _dtype: DType, bytes: u64) -> Result<()> {
        if bytes > self.0.caps.max_buffer_bytes {
            let reason = format!("a buffer holds at most {} bytes", self.0.caps.max_buffer_bytes);
            return Err(self.0.ledger.refused(bytes, reason));
        }
        self.0.largest.fetch_max(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn upload(&self, (): &(), _offset: u64, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    fn download(&self, (): &(), _range: Range<u64>) -> impl Future<Output = Result<Vec<u8>>> {
        ready(Err(Error::Unsupported {
            op: "download",
            what: "reading a value back".to_owned(),
            engine: "the dry backend".to_owned(),
        }))
    }

    fn synchronize(&self) -> impl Future<Output = Result<()>> {
        ready(Ok(()))
    }

    fn embedding(&self, ids: &Tensor<Self>, table: &Weight<Self>, out: &Tensor<Self>) -> Result<()> {
        let row_bytes = table.size_bytes() / table.shape()[0];
        self.record(0.0, &[ids, out], ids.len() * row_bytes)
    }

    fn rms_norm(&self, x: &Tensor<Self>, weight: &Tensor<Self>, _eps: f32, y: &Tensor<Self>) -> Result<()> {
        self.record(0.0, &[x, weight, y], 0)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor<Self>,
        weight: &Tensor<Self>,
        _eps: f32,
        dy: &Tensor<Self>,
        dx: &Tensor<Self>,
    ) -> Result<()> {
        self.record(0.0, &[x, weight, dy, dx], 0)
    }

    fn linear(&self, op: Linear<'_, Self>) -> Result<()> {
        let lora = op.lora.map_or(0, |lora| lora.b.len());
        let flops = 2.0 * op.x.leading() as f64 * (op.weight.shape().iter().product::<usize>() + lora) as f64;
        self.record(flops, &[op.x, op.y], op.weight.size_bytes() + lora * 4)
    }

    fn linear_backward(&self, op: LinearBackward<'_, Self>) -> Result<()> {
        let lora = op.lora.map_or(0, |lora| lora.a.len());
        let flops =
            2.0 * op.dy.leading() as f64 * (op.weight.shape().iter().product::<usize>() + lora) as f64;
        self.record(flops, &[op.dy, op.dx], op.weight.size_bytes() + lora * 4)
    }

    fn lora_down(&self, op: LoraDown<'_, Self>) -> Result<()> {
        self.record(
            2.0 * (op.x.leading() * op.matrix.len()) as f64,
            &[op.x, op.matrix, op.out],
            0,
        )
    }

    fn lora_grad(&self, op: LoraGrad<'_, Self>) -> Result<()> {
        self.record(
            2.0 * (op.wide.leading() * op.grad.len()) as f64,
            &[op.thin, op.wide, op.grad, op.grad],
            0,
        )
    }

    fn rope(
        &self,
        x: &Tensor<Self>,
        positions: &Tensor<Self>,
        table: &Tensor<Self>,
        _inverse: bool,
        out: &Tensor<Self>,
    ) -> Result<()> {
        self.record(0.0, &[x, positions, out], positions.len() * table.columns() * 4)
    }

    fn attention(&self, op: Attention<'_, Self>) -> Result<()> {
        self.record(2.0 * attention_flops(&op), &[op.q, op.k, op.v, op.out, op.lse], 0)
    }

    fn attention_backward(&self, op: AttentionBackward<'_, Self>) -> Result<()> {
        // Scores and dout v^T are computed twice, once for dq and once for dk and dv; then three more products.
        let Attention {
            q, k, v, out, lse, ..
        } = op.forward;
        let tensors = [q, k, v, out, lse, op.dout, op.dq, op.dk, op.dv];
        self.record(7.0 * attention_flops(&op.forward), &tensors, 0)
    }

    fn swiglu(&self, gate: &Tensor<Self>, up: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        self.record(0.0, &[gate, up, out], 0)
    }

    fn swiglu_backward(
        &self,
        gate: &Tensor<Self>,
        up: &Tensor<Self>,
        dy: &Tensor<Self>,
        dgate: &Tensor<Self>,
        dup: &Tensor<Self>,
    ) -> Result<()> {
        self.record(0.0, &[gate, up, dy, dgate, dup], 0)
    }

    fn cross_entropy(
        &self,
        logits: &Tensor<Self>,
        labels: &Tensor<Self>,
        grad_scale: Option<f32>,
        _stats: &Tensor<Self>,
        _column: usize,
    ) -> Result<()> {
        let written = if grad_scale.is_some() {
            logits.size_bytes()
        } else {
            0
        };
        self.record(0.0, &[logits, labels], written + labels.len() * 8)
    }

    fn adamw(&self, op: AdamW<'_, Self>) -> Result<()> {
        self.record(0.0, &[op.param, op.param, op.grad, op.m, op.m, op.v, op.v], 0)
    }

    fn reduce(
        &self,
        x: &Tensor<Self>,
        _square: bool,
        _chunk: usize,
        _out: &Tensor<Self>,
        _column: usize,
    ) -> Result<()> {
        self.record(0.0, &[x], 0)
    }

    fn add(&self, a: &Tensor<Self>, b: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        self.record(0.0, &[a, b, out], 0)
    }

    fn scale(&self, x: &Tensor<Self>, _factor: f32) -> Result<()> {
        self.record(0.0, &[x, x], 0)
    }

    fn fill(&self, x: &Tensor<Self>, _value: f32) -> Result<()> {
        self.record(0.0, &[x], 0)
    }

    fn cast(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        self.record(0.0, &[x, out], 0)
    }

    fn copy(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        self.record(0.0, &[x, out], 0)
    }

    fn attention_decode(&self, op: AttentionDecode<'_, Self>) -> Result<()> {
        let flops = 4.0 * (op.q.len() * op.k_cache.shape()[1]) as f64;
        self.record(flops, &[op.q, op.k_cache, op.v_cache, op.out], 0)
    }

    fn cache_append(&self, new: &Tensor<Self>, starts: &Tensor<Self>, _cache: &Tensor<Self>) -> Result<()> {
        self.record(0.0, &[new, new, starts], 0)
    }
}
