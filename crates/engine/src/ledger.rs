//! The memory ledger: every device byte, live and peak, by kind.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Result};

/// Allocations are rounded up to this many bytes, so that kernels can load `vec4<f32>`.
const GRANULE: u64 = 16;

/// What an allocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryKind {
    /// Frozen base weights.
    Weights,
    /// Trained LoRA matrices.
    Adapter,
    /// Their gradients.
    Gradients,
    /// The optimizer's state.
    Optimizer,
    /// Block inputs, and what a tape keeps for backward.
    Activations,
    /// Memory that lives no longer than one operation.
    Scratch,
}

impl MemoryKind {
    /// All kinds, in the order of [`MemoryReport::live_by_kind`].
    pub const ALL: [Self; 6] = [
        Self::Weights,
        Self::Adapter,
        Self::Gradients,
        Self::Optimizer,
        Self::Activations,
        Self::Scratch,
    ];

    /// The name used in `summary.json` and in `plan --json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Adapter => "adapter",
            Self::Gradients => "gradients",
            Self::Optimizer => "optimizer",
            Self::Activations => "activations",
            Self::Scratch => "scratch",
        }
    }
}

impl fmt::Display for MemoryKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The ledger's figures at one moment, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryReport {
    /// In use now.
    pub live: u64,
    /// In use now, in the order of [`MemoryKind::ALL`].
    pub live_by_kind: [u64; 6],
    /// The most that was in use at once.
    pub peak: u64,
    /// What the peak was made of: sums to `peak`.
    pub peak_by_kind: [u64; 6],
}

impl MemoryReport {
    /// The peak's share of one kind.
    pub fn peak_of(&self, kind: MemoryKind) -> u64 {
        self.peak_by_kind[kind as usize]
    }

    /// The live bytes of one kind.
    pub fn live_of(&self, kind: MemoryKind) -> u64 {
        self.live_by_kind[kind as usize]
    }
}

#[derive(Debug, Default)]
struct State {
    report: MemoryReport,
    limit: Option<u64>,
}

/// Counts device memory. A clone counts into the same books.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<State>>);

impl Ledger {
    /// A ledger that refuses what would take the live bytes above `limit`.
    pub fn with_limit(limit: Option<u64>) -> Self {
        Self(Arc::new(Mutex::new(State {
            limit,
            ..State::default()
        })))
    }

    /// Changes the limit; what is allocated already stays.
    pub fn set_limit(&self, limit: Option<u64>) {
        self.state().limit = limit;
    }

    /// The figures now.
    pub fn report(&self) -> MemoryReport {
        self.state().report.clone()
    }

    /// Starts a new peak from what is live now.
    pub fn reset_peak(&self) {
        let state = &mut *self.state();
        state.report.peak = state.report.live;
        state.report.peak_by_kind = state.report.live_by_kind;
    }

    /// The size that an allocation of `bytes` is counted and made with.
    pub const fn rounded(bytes: u64) -> u64 {
        let bytes = if bytes == 0 { 1 } else { bytes };
        bytes.div_ceil(GRANULE) * GRANULE
    }

    /// The error for an allocation that the device itself refused.
    pub fn refused(&self, requested: u64, reason: impl Into<String>) -> Error {
        let MemoryReport { live, peak, .. } = self.report();
        Error::OutOfMemory {
            requested,
            live,
            peak,
            reason: reason.into(),
        }
    }

    /// Books `bytes`, or refuses them.
    pub(crate) fn reserve(&self, kind: MemoryKind, bytes: u64) -> Result<()> {
        let state = &mut *self.state();
        let report = &mut state.report;
        if let Some(limit) = state.limit.filter(|limit| report.live + bytes > *limit) {
            return Err(Error::OutOfMemory {
                requested: bytes,
                live: report.live,
                peak: report.peak,
                reason: format!("the memory limit is {limit} bytes"),
            });
        }
        report.live += bytes;
        report.live_by_kind[kind as usize] += bytes;
        Ok(())
    }

    /// Counts what was booked into the peak, once the device has given it.
    pub(crate) fn commit(&self) {
        let report = &mut self.state().report;
        if report.live > report.peak {
            report.peak = report.live;
            report.peak_by_kind = report.live_by_kind;
        }
    }

    /// Returns what [`Ledger::reserve`] booked.
    pub(crate) fn release(&self, kind: MemoryKind, bytes: u64) {
        let report = &mut self.state().report;
        report.live -= bytes;
        report.live_by_kind[kind as usize] -= bytes;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // A panic elsewhere leaves the sums whole: each change is a few additions.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peak_is_the_largest_sum_and_keeps_its_parts() {
        let ledger = Ledger::default();
        ledger.reserve(MemoryKind::Weights, 100).unwrap();
        ledger.commit();
        ledger.reserve(MemoryKind::Scratch, 50).unwrap();
        ledger.commit();
        ledger.release(MemoryKind::Scratch, 50);
        ledger.reserve(MemoryKind::Adapter, 20).unwrap();
        ledger.commit();
        let report = ledger.report();
        assert_eq!((report.live, report.peak), (120, 150));
        assert_eq!(report.peak_of(MemoryKind::Scratch), 50);
        assert_eq!(report.peak_by_kind.iter().sum::<u64>(), report.peak);
        ledger.reset_peak();
        assert_eq!(ledger.report().peak, 120);
    }

    #[test]
    fn a_refusal_names_the_figures_and_books_nothing() {
        let ledger = Ledger::with_limit(Some(100));
        ledger.reserve(MemoryKind::Weights, 80).unwrap();
        ledger.commit();
        match ledger.reserve(MemoryKind::Scratch, 32) {
            Err(Error::OutOfMemory {
                requested: 32,
                live: 80,
                peak: 80,
                ..
            }) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(ledger.report().live, 80);
    }
}
