use std::future::{Future, ready};
use std::ops::Range;
use std::sync::Arc;

use anylora_engine::{
    AdamW, Attention, AttentionBackward, AttentionDecode, Backend, Caps, DType, DeviceInfo, DeviceKind,
    Ledger, Linear, LinearBackward, LoraDown, LoraGrad, Result, Tensor, Weight,
};
use burn::backend::Flex;
use burn::tensor::backend::Backend as BurnBackend;

use crate::{Storage, ops};

/// The CPU engine.
pub type Cpu = Burn<Flex>;

/// A device of a burn backend. A clone is the same device.
pub struct Burn<B: BurnBackend> {
    inner: Arc<Inner<B>>,
}

struct Inner<B: BurnBackend> {
    info: DeviceInfo,
    ledger: Ledger,
    device: B::Device,
}

impl<B: BurnBackend> Clone for Burn<B> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl Cpu {
    /// The processor of this machine. Allocations past `memory_limit` bytes are refused; without one they are
    /// the operating system's to refuse.
    pub fn new(memory_limit: Option<u64>) -> Self {
        let info = DeviceInfo {
            engine: "burn",
            name: processor_name(),
            backend: "cpu".to_owned(),
            driver: "burn-flex 0.21.0".to_owned(),
            kind: DeviceKind::Cpu,
        };
        Self::with_device(info, Default::default(), memory_limit)
    }
}

impl<B: BurnBackend> Burn<B> {
    /// A device of burn's, described by `info`.
    pub fn with_device(info: DeviceInfo, device: B::Device, memory_limit: Option<u64>) -> Self {
        Self {
            inner: Arc::new(Inner {
                info,
                ledger: Ledger::with_limit(memory_limit),
                device,
            }),
        }
    }

    pub(crate) fn device(&self) -> &B::Device {
        &self.inner.device
    }
}

/// What the operating system calls the processor, or its architecture.
fn processor_name() -> String {
    let described = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = described
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, name)| name.trim().to_owned(),
    )
}

impl<B: BurnBackend> Backend for Burn<B> {
    type Storage = Storage<B>;

    fn info(&self) -> &DeviceInfo {
        &self.inner.info
    }

    fn caps(&self) -> &Caps {
        &Caps::HOST
    }

    fn ledger(&self) -> &Ledger {
        &self.inner.ledger
    }

    fn allocate(&self, len: usize, dtype: DType, _bytes: u64) -> Result<Storage<B>> {
        Ok(Storage::new(len, dtype, self.inner.device.clone()))
    }

    fn upload(&self, storage: &Storage<B>, offset: u64, bytes: &[u8]) -> Result<()> {
        storage.write_raw("upload", offset as usize, bytes)
    }

    fn download(&self, storage: &Storage<B>, range: Range<u64>) -> impl Future<Output = Result<Vec<u8>>> {
        ready(storage.read_raw("download", range.start as usize..range.end as usize))
    }

    fn synchronize(&self) -> impl Future<Output = Result<()>> {
        ready(Ok(()))
    }

    fn embedding(&self, ids: &Tensor<Self>, table: &Weight<Self>, out: &Tensor<Self>) -> Result<()> {
        ops::embedding(ids, table, out)
    }

    fn rms_norm(&self, x: &Tensor<Self>, weight: &Tensor<Self>, eps: f32, y: &Tensor<Self>) -> Result<()> {
        ops::rms_norm(x, weight, eps, y)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor<Self>,
        weight: &Tensor<Self>,
        eps: f32,
        dy: &Tensor<Self>,
        dx: &Tensor<Self>,
    ) -> Result<()> {
        ops::rms_norm_backward(x, weight, eps, dy, dx)
    }

    fn linear(&self, op: Linear<'_, Self>) -> Result<()> {
        ops::linear(op)
    }

    fn linear_backward(&self, op: LinearBackward<'_, Self>) -> Result<()> {
        ops::linear_backward(op)
    }

    fn lora_down(&self, op: LoraDown<'_, Self>) -> Result<()> {
        ops::lora_down(op)
    }

    fn lora_grad(&self, op: LoraGrad<'_, Self>) -> Result<()> {
        ops::lora_grad(op)
    }

    fn rope(
        &self,
        x: &Tensor<Self>,
        positions: &Tensor<Self>,
        table: &Tensor<Self>,
        inverse: bool,
        out: &Tensor<Self>,
    ) -> Result<()> {
        ops::rope(x, positions, table, inverse, out)
    }

    fn attention(&self, op: Attention<'_, Self>) -> Result<()> {
        ops::attention(op)
    }

    fn attention_backward(&self, op: AttentionBackward<'_, Self>) -> Result<()> {
        ops::attention_backward(op)
    }

    fn swiglu(&self, gate: &Tensor<Self>, up: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        ops::swiglu(gate, up, out)
    }

    fn swiglu_backward(
        &self,
        gate: &Tensor<Self>,
        up: &Tensor<Self>,
        dy: &Tensor<Self>,
        dgate: &Tensor<Self>,
        dup: &Tensor<Self>,
    ) -> Result<()> {
        ops::swiglu_backward(gate, up, dy, dgate, dup)
    }

    fn cross_entropy(
        &self,
        logits: &Tensor<Self>,
        labels: &Tensor<Self>,
        grad_scale: Option<f32>,
        stats: &Tensor<Self>,
        column: usize,
    ) -> Result<()> {
        ops::cross_entropy(logits, labels, grad_scale, stats, column)
    }

    fn adamw(&self, op: AdamW<'_, Self>) -> Result<()> {
        ops::adamw(op)
    }

    fn reduce(
        &self,
        x: &Tensor<Self>,
        square: bool,
        chunk: usize,
        out: &Tensor<Self>,
        column: usize,
    ) -> Result<()> {
        ops::reduce(x, square, chunk, out, column)
    }

    fn add(&self, a: &Tensor<Self>, b: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        ops::add(a, b, out)
    }

    fn scale(&self, x: &Tensor<Self>, factor: f32) -> Result<()> {
        ops::scale(x, factor)
    }

    fn fill(&self, x: &Tensor<Self>, value: f32) -> Result<()> {
        ops::fill(x, value)
    }

    fn cast(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        ops::cast(x, out)
    }

    fn copy(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        ops::copy(x, out)
    }

    fn attention_decode(&self, op: AttentionDecode<'_, Self>) -> Result<()> {
        ops::attention_decode(op)
    }

    fn cache_append(&self, new: &Tensor<Self>, starts: &Tensor<Self>, cache: &Tensor<Self>) -> Result<()> {
        ops::cache_append(new, starts, cache)
    }
}
