//! From the device to the host, and waiting, without blocking the caller.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use anylora_engine::{Error, Result};
use futures_channel::oneshot;

use crate::{Storage, Wgpu};

/// Bytes of staging memory that one readback uses at a time. It is the host's, and outside the ledger.
const PIECE: u64 = 32 << 20;

/// Fires once: whoever comes first, the callback or the thread that finds the device gone.
#[derive(Clone)]
pub(crate) struct Signal(Arc<Mutex<Option<oneshot::Sender<bool>>>>);

impl Signal {
    fn new() -> (Self, oneshot::Receiver<bool>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Arc::new(Mutex::new(Some(sender)))), receiver)
    }

    pub(crate) fn fire(&self, done: bool) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            // Nobody may be waiting any more.
            sender.send(done).ok();
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn has_fired(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Wgpu {
    /// Reads `range`, in pieces. Whoever overwrites the tensor while this waits may get a mix of old and new pieces.
    pub(crate) async fn read_bytes(&self, storage: &Storage, range: Range<u64>) -> Result<Vec<u8>> {
        self.check()?;
        if range.start > range.end || range.end > storage.buffer.size() {
            return Err(Error::Argument {
                op: "download",
                what: format!("{range:?} is outside the allocation"),
            });
        }
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start / 4 * 4 + PIECE);
            self.read_piece(&storage.buffer, start..end, &mut bytes).await?;
            start = end;
        }
        Ok(bytes)
    }

    /// Copies are of whole 4-byte words; buffers are.
    async fn read_piece(&self, buffer: &wgpu::Buffer, range: Range<u64>, bytes: &mut Vec<u8>) -> Result<()> {
        let words = range.start / 4 * 4..range.end.next_multiple_of(4);
        let size = words.end - words.start;
        self.0.faults.requesting(size);
        let staging = self.0.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("readback"),
            size,
            usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        self.check()?;
        let mut encoder = self
            .0
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(buffer, words.start, &staging, 0, size);
        let (signal, receiver) = Signal::new();
        let index = self.recorder().submit_with(&self.0, Some(encoder.finish()));
        let callback = signal.clone();
        staging.map_async(wgpu::MapMode::Read, .., move |result| {
            callback.fire(result.is_ok())
        });
        self.finished(index, signal, receiver).await?;
        let view = staging
            .get_mapped_range(..)
            .map_err(|error| Error::Device(error.to_string()))?;
        bytes.extend_from_slice(
            &view[(range.start - words.start) as usize..(range.end - words.start) as usize],
        );
        drop(view);
        staging.unmap();
        Ok(())
    }

    /// Waits for everything recorded and submitted.
    pub(crate) async fn wait_for_all(&self) -> Result<()> {
        self.check()?;
        let (signal, receiver) = Signal::new();
        let index = {
            let mut recorder = self.recorder();
            let index = recorder.submit(&self.0);
            let callback = signal.clone();
            self.0.queue.on_submitted_work_done(move || callback.fire(true));
            index
        };
        self.finished(index, signal, receiver).await
    }

    async fn finished(
        &self,
        index: wgpu::SubmissionIndex,
        signal: Signal,
        receiver: oneshot::Receiver<bool>,
    ) -> Result<()> {
        #[cfg(not(target_arch = "wasm32"))]
        self.0.poller.watch(index, signal);
        #[cfg(target_arch = "wasm32")]
        drop((index, signal));
        let done = receiver.await.unwrap_or(false);
        self.check()?;
        if done {
            Ok(())
        } else {
            Err(Error::Device("the work did not finish".to_owned()))
        }
    }
}
