//! What the device reports on its own: errors that nobody waited for, and its loss. The next call returns them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anylora_engine::{Error, Ledger, Result};
use futures_channel::oneshot;

/// The first error since the last check, and whether the device is lost. Loss stays; an error is reported once.
#[derive(Default)]
pub(crate) struct Faults {
    /// Whether there's anything to look at: a launch reads only this.
    raised: AtomicBool,
    /// Bytes of the latest allocation, for an out-of-memory error that comes later (in browsers).
    requested: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lost: Option<String>,
    /// Those who want to know of it at once.
    waiting: Vec<oneshot::Sender<String>>,
    error: Option<Fault>,
}

enum Fault {
    OutOfMemory(String),
    Device(String),
}

impl Faults {
    /// The device is gone. The first reason stays.
    pub(crate) fn lose(&self, reason: impl Into<String>) {
        let state = &mut *self.state();
        let reason = state.lost.get_or_insert_with(|| reason.into());
        for waiting in state.waiting.drain(..) {
            // It may have been given up.
            waiting.send(reason.clone()).ok();
        }
        self.raised.store(true, Ordering::Release);
    }

    /// The reason of the device's loss, once it is lost.
    pub(crate) fn lost(&self) -> oneshot::Receiver<String> {
        let (sender, receiver) = oneshot::channel();
        let state = &mut *self.state();
        match &state.lost {
            Some(reason) => drop(sender.send(reason.clone())),
            None => state.waiting.push(sender),
        }
        receiver
    }

    /// wgpu reported an error that no error scope caught.
    pub(crate) fn record(&self, error: &wgpu::Error) {
        let fault = match error {
            wgpu::Error::OutOfMemory { .. } => Fault::OutOfMemory(error.to_string()),
            wgpu::Error::Validation { .. } | wgpu::Error::Internal { .. } => Fault::Device(error.to_string()),
        };
        self.state().error.get_or_insert(fault);
        self.raised.store(true, Ordering::Release);
    }

    /// Notes an allocation that may be refused later.
    pub(crate) fn requesting(&self, bytes: u64) {
        self.requested.store(bytes, Ordering::Relaxed);
    }

    /// Whether the device is gone.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn is_lost(&self) -> bool {
        self.raised.load(Ordering::Acquire) && self.state().lost.is_some()
    }

    /// What went wrong since the last check.
    pub(crate) fn check(&self, ledger: &Ledger) -> Result<()> {
        if !self.raised.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut state = self.state();
        if let Some(reason) = &state.lost {
            return Err(Error::DeviceLost(reason.clone()));
        }
        self.raised.store(false, Ordering::Release);
        match state.error.take() {
            None => Ok(()),
            Some(Fault::Device(text)) => Err(Error::Device(text)),
            Some(Fault::OutOfMemory(text)) => {
                Err(ledger.refused(self.requested.load(Ordering::Relaxed), text))
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
