//! [`Backend`] for [`Cuda`]: each operation is a launcher in `kernels/`.

use std::ops::Range;

use anylora_engine::{
    AdamW, Attention, AttentionBackward, AttentionDecode, Backend, Caps, DType, DeviceInfo, Ledger, Linear,
    LinearBackward, LoraDown, LoraGrad, Result, Tensor, Weight,
};

use crate::kernels::{attention, decode, elementwise, linear, lora, loss, optimizer, rows};
use crate::{Cuda, Storage};

impl Backend for Cuda {
    type Storage = Storage;

    fn info(&self) -> &DeviceInfo {
        self.device_info()
    }

    fn caps(&self) -> &Caps {
        self.device_caps()
    }

    fn ledger(&self) -> &Ledger {
        self.books()
    }

    fn allocate(&self, _len: usize, _dtype: DType, bytes: u64) -> Result<Storage> {
        self.allocate_bytes(bytes)
    }

    fn upload(&self, storage: &Storage, offset: u64, bytes: &[u8]) -> Result<()> {
        self.driver().upload(storage.address + offset, bytes)
    }

    async fn download(&self, storage: &Storage, range: Range<u64>) -> Result<Vec<u8>> {
        self.read_bytes(storage, range).await
    }

    async fn synchronize(&self) -> Result<()> {
        self.wait_for_all().await
    }

    fn embedding(&self, ids: &Tensor<Self>, table: &Weight<Self>, out: &Tensor<Self>) -> Result<()> {
        rows::embedding(self, ids, table, out)
    }

    fn rms_norm(&self, x: &Tensor<Self>, weight: &Tensor<Self>, eps: f32, y: &Tensor<Self>) -> Result<()> {
        rows::rms_norm(self, x, weight, eps, y)
    }

    fn rms_norm_backward(
        &self,
        x: &Tensor<Self>,
        weight: &Tensor<Self>,
        eps: f32,
        dy: &Tensor<Self>,
        dx: &Tensor<Self>,
    ) -> Result<()> {
        rows::rms_norm_backward(self, x, weight, eps, dy, dx)
    }

    fn linear(&self, op: Linear<'_, Self>) -> Result<()> {
        linear::linear(self, op)
    }

    fn linear_backward(&self, op: LinearBackward<'_, Self>) -> Result<()> {
        linear::linear_backward(self, op)
    }

    fn lora_down(&self, op: LoraDown<'_, Self>) -> Result<()> {
        lora::lora_down(self, op)
    }

    fn lora_grad(&self, op: LoraGrad<'_, Self>) -> Result<()> {
        lora::lora_grad(self, op)
    }

    fn rope(
        &self,
        x: &Tensor<Self>,
        positions: &Tensor<Self>,
        table: &Tensor<Self>,
        inverse: bool,
        out: &Tensor<Self>,
    ) -> Result<()> {
        rows::rope(self, x, positions, table, inverse, out)
    }

    fn attention(&self, op: Attention<'_, Self>) -> Result<()> {
        attention::attention(self, op)
    }

    fn attention_backward(&self, op: AttentionBackward<'_, Self>) -> Result<()> {
        attention::attention_backward(self, op)
    }

    fn swiglu(&self, gate: &Tensor<Self>, up: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        elementwise::swiglu(self, gate, up, out)
    }

    fn swiglu_backward(
        &self,
        gate: &Tensor<Self>,
        up: &Tensor<Self>,
        dy: &Tensor<Self>,
        dgate: &Tensor<Self>,
        dup: &Tensor<Self>,
    ) -> Result<()> {
        elementwise::swiglu_backward(self, gate, up, dy, dgate, dup)
    }

    fn cross_entropy(
        &self,
        logits: &Tensor<Self>,
        labels: &Tensor<Self>,
        grad_scale: Option<f32>,
        stats: &Tensor<Self>,
        column: usize,
    ) -> Result<()> {
        loss::cross_entropy(self, logits, labels, grad_scale, stats, column)
    }

    fn adamw(&self, op: AdamW<'_, Self>) -> Result<()> {
        optimizer::adamw(self, op)
    }

    fn reduce(
        &self,
        x: &Tensor<Self>,
        square: bool,
        chunk: usize,
        out: &Tensor<Self>,
        column: usize,
    ) -> Result<()> {
        optimizer::reduce(self, x, square, chunk, out, column)
    }

    fn add(&self, a: &Tensor<Self>, b: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        elementwise::add(self, a, b, out)
    }

    fn scale(&self, x: &Tensor<Self>, factor: f32) -> Result<()> {
        elementwise::scale(self, x, factor)
    }

    fn fill(&self, x: &Tensor<Self>, value: f32) -> Result<()> {
        elementwise::fill(self, x, value)
    }

    fn cast(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        elementwise::cast(self, x, out)
    }

    fn copy(&self, x: &Tensor<Self>, out: &Tensor<Self>) -> Result<()> {
        elementwise::copy(self, x, out)
    }

    fn attention_decode(&self, op: AttentionDecode<'_, Self>) -> Result<()> {
        decode::attention_decode(self, op)
    }

    fn cache_append(&self, new: &Tensor<Self>, starts: &Tensor<Self>, cache: &Tensor<Self>) -> Result<()> {
        decode::cache_append(self, new, starts, cache)
    }
}
