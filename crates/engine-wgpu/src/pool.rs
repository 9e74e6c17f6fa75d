//! Device memory, and its reuse.
//!
//! Freed buffers stay in a free list and go to the next allocation of the same size: a training step allocates what
//! the step before freed. Before a new buffer is made, the oldest free ones are given up until live and free bytes
//! together are at most the ledger's peak (which the new buffer may raise). So what the process holds never
//! exceeds the most that was ever live at once, and `plan`'s figure is what a user sees in the driver's tools.
//!
//! Reuse needs no waiting: all work goes through one queue in the order of the calls. A buffer given up while
//! recorded work still uses it is kept alive by wgpu until that work is done.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anylora_engine::Result;

use crate::Wgpu;

/// One allocation. Dropping it gives its memory back to the pool.
pub struct Storage {
    pub(crate) buffer: wgpu::Buffer,
    /// Bytes that hold elements; the buffer's size is rounded up.
    pub(crate) used: u64,
    pool: Arc<Pool>,
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.pool.put(self.buffer.clone());
    }
}

/// Memory that nobody uses now.
#[derive(Default)]
pub(crate) struct Pool(Mutex<State>);

#[derive(Default)]
struct State {
    /// Oldest first.
    free: VecDeque<wgpu::Buffer>,
    free_bytes: u64,
    /// Bytes of all buffers, used and free.
    held_bytes: u64,
}

impl Pool {
    pub(crate) fn held_bytes(&self) -> u64 {
        self.state().held_bytes
    }

    fn put(&self, buffer: wgpu::Buffer) {
        let mut state = self.state();
        state.free_bytes += buffer.size();
        state.free.push_back(buffer);
    }

    /// A free buffer of exactly this size, the one freed last.
    fn take(&self, bytes: u64) -> Option<wgpu::Buffer> {
        let mut state = self.state();
        let place = state.free.iter().rposition(|buffer| buffer.size() == bytes)?;
        state.free_bytes -= bytes;
        state.free.remove(place)
    }

    /// Gives up the oldest free buffers until at most `keep` free bytes are left. Says whether there were any.
    fn evict(&self, keep: u64) -> bool {
        let state = &mut *self.state();
        let evicts = state.free_bytes > keep;
        while state.free_bytes > keep {
            let Some(buffer) = state.free.pop_front() else {
                break;
            };
            state.free_bytes -= buffer.size();
            state.held_bytes -= buffer.size();
        }
        evicts
    }

    fn add(&self, bytes: u64) {
        self.state().held_bytes += bytes;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wgpu {
    /// Memory for `used` bytes in a buffer of `bytes`, which the ledger has booked already.
    pub(crate) fn allocate_bytes(&self, used: u64, bytes: u64) -> Result<Storage> {
        self.check()?;
        let gpu = &*self.0;
        let max = gpu.caps.max_buffer_bytes;
        if bytes > max {
            return Err(gpu
                .ledger
                .refused(bytes, format!("a buffer holds at most {max} bytes here")));
        }
        let buffer = match gpu.pool.take(bytes) {
            Some(buffer) => buffer,
            None => {
                let report = gpu.ledger.report();
                if gpu.pool.evict(report.peak.saturating_sub(report.live)) {
                    // Recorded work keeps what it uses; once submitted, it ends and lets go.
                    self.recorder().submit(gpu);
                }
                let buffer = self.create_or_retry(bytes)?;
                gpu.pool.add(bytes);
                buffer
            }
        };
        let storage = Storage {
            buffer,
            used,
            pool: Arc::clone(&gpu.pool),
        };
        if gpu.options.poison {
            self.poison(&storage)?;
        }
        Ok(storage)
    }

    /// A device that refuses is asked once more, with the whole pool given up and nothing in flight.
    #[cfg(not(target_arch = "wasm32"))]
    fn create_or_retry(&self, bytes: u64) -> Result<wgpu::Buffer> {
        if let Ok(buffer) = self.create(bytes) {
            return Ok(buffer);
        }
        self.0.pool.evict(0);
        let index = self.recorder().submit(&self.0);
        crate::poller::wait(&self.0.device, &self.0.faults, index).ok();
        self.check()?;
        self.create(bytes)
            .map_err(|reason| self.0.ledger.refused(bytes, reason))
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn create(&self, bytes: u64) -> std::result::Result<wgpu::Buffer, String> {
        let scope = self.0.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.0.device.create_buffer(&descriptor(bytes));
        match ready(scope.pop()) {
            Some(error) => Err(error.to_string()),
            None => Ok(buffer),
        }
    }

    /// A browser tells later whether there was memory: the next call that checks returns it.
    #[cfg(target_arch = "wasm32")]
    fn create_or_retry(&self, bytes: u64) -> Result<wgpu::Buffer> {
        self.0.faults.requesting(bytes);
        Ok(self.0.device.create_buffer(&descriptor(bytes)))
    }

    fn poison(&self, storage: &Storage) -> Result<()> {
        let nan = vec![0xFF; 1 << 20];
        let size = storage.buffer.size();
        let mut recorder = self.recorder();
        let mut offset = 0;
        while offset < size {
            let part = (size - offset).min(nan.len() as u64);
            recorder.write(&self.0, &storage.buffer, offset, &nan[..part as usize]);
            offset += part;
        }
        drop(recorder);
        self.check()
    }
}

fn descriptor(bytes: u64) -> wgpu::BufferDescriptor<'static> {
    wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    }
}

/// The error of a scope: natively it's there at once.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn ready<T>(future: impl Future<Output = Option<T>>) -> Option<T> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => None,
    }
}
