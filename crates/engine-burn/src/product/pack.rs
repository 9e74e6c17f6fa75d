//! Panels: for each value of the inner dimension the tile's rows, or its columns, side by side.

use std::ops::Range;

use super::{DEPTH, Left};
use crate::rows::{Expand, Place, Rows, Store};
use crate::simd::{Kernel, LANES, Simd};

/// A panel of the left side: out `[K, TILE_ROWS]`, and sixteen more elements that are written.
pub(super) struct LeftPanels<'a> {
    pub(super) left: Left<'a>,
    pub(super) shape: [usize; 3],
    /// No more than a tile has.
    pub(super) rows: Range<usize>,
    pub(super) inner: Range<usize>,
    pub(super) out: *mut f32,
}

impl Kernel for LeftPanels<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let [m, _, k] = self.shape;
        // SAFETY: the left side has M rows over K, and `out` its room; the processor is the caller's promise.
        unsafe {
            match self.left {
                Left::Rows(left) => self.transposed::<S>(&left[self.rows.start * k..self.rows.end * k], k),
                Left::Columns(left) => self.plain::<S>(&left[self.inner.start * m..self.inner.end * m], m),
            }
        }
    }
}

impl LeftPanels<'_> {
    /// From `[rows, K]`.
    ///
    /// # Safety
    /// `out` has the panel's room, and the processor has S's features.
    #[inline(always)]
    unsafe fn transposed<S: Simd>(&self, left: &[f32], k: usize) {
        let count = self.rows.len();
        let whole = self.inner.len() / LANES * LANES;
        // SAFETY: sixteen values from each column below `whole` on lie in their row; of sixteen that are stored, what goes
        // beyond a tile's rows is stored again by the next, and the last has sixteen elements more.
        unsafe {
            for at in (0..whole).step_by(LANES) {
                let mut square = [S::splat(0.0); LANES];
                for (row, values) in square.iter_mut().enumerate() {
                    if row < count {
                        *values = S::load(left.as_ptr().add(row * k + self.inner.start + at));
                    }
                }
                let columns = S::transpose(square);
                for (i, column) in columns.iter().enumerate() {
                    S::store(self.out.add((at + i) * S::TILE_ROWS), *column);
                }
            }
            for at in whole..self.inner.len() {
                for row in 0..count {
                    *self.out.add(at * S::TILE_ROWS + row) = left[row * k + self.inner.start + at];
                }
            }
        }
    }

    /// From `[inner, M]`.
    ///
    /// # Safety
    /// As [`Self::transposed`].
    #[inline(always)]
    unsafe fn plain<S: Simd>(&self, left: &[f32], m: usize) {
        for at in 0..self.inner.len() {
            let from = at * m + self.rows.start;
            // SAFETY: sixteen are loaded where there are as many; for what is stored see above.
            unsafe {
                let to = self.out.add(at * S::TILE_ROWS);
                if from + LANES <= left.len() {
                    S::store(to, S::load(left.as_ptr().add(from)));
                } else {
                    for row in 0..self.rows.len() {
                        *to.add(row) = left[from + row];
                    }
                }
            }
        }
    }
}

/// A panel of a right side that is transposed: its columns are rows. out `[inner, TILE_VECTORS * 16]`.
pub(super) struct TransposedPanel<'a, R> {
    pub(super) right: &'a R,
    /// No more than a tile has columns. What a panel has beyond them is any number.
    pub(super) rows: Range<usize>,
    /// No more than [`DEPTH`].
    pub(super) inner: Range<usize>,
    pub(super) out: *mut f32,
}

impl<R: Rows> Kernel for TransposedPanel<'_, R> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = S::TILE_VECTORS * LANES;
        let mut lines = [0.0; LANES * DEPTH];
        for vector in 0..S::TILE_VECTORS {
            let first = self.rows.start + vector * LANES;
            for (row, line) in (first..self.rows.end).zip(lines.chunks_exact_mut(DEPTH)) {
                let (right, columns, out) = (self.right, self.inner.clone(), line);
                // SAFETY: the row exists; the processor is the caller's promise.
                unsafe {
                    Expand {
                        rows: right,
                        row,
                        columns,
                        out,
                    }
                    .run::<S>()
                };
            }
            for at in (0..self.inner.len()).step_by(LANES) {
                // SAFETY: `lines` has all of [`DEPTH`], and the panel the columns that are stored.
                unsafe {
                    let mut square = [S::splat(0.0); LANES];
                    for (row, values) in square.iter_mut().enumerate() {
                        *values = S::load(lines.as_ptr().add(row * DEPTH + at));
                    }
                    let columns = S::transpose(square);
                    for (i, column) in columns.iter().enumerate() {
                        if i < self.inner.len() - at {
                            S::store(self.out.add((at + i) * width + vector * LANES), *column);
                        }
                    }
                }
            }
        }
    }
}

/// Rows of a right side as they are, spread over panels.
pub(super) struct PlainRows<'a, R> {
    pub(super) right: &'a R,
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
    /// Where the first row lies in the first panel.
    pub(super) out: *mut f32,
    /// Elements of a panel.
    pub(super) panel: usize,
}

impl<R: Rows> Kernel for PlainRows<'_, R> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = S::TILE_VECTORS * LANES;
        for (i, row) in self.rows.clone().enumerate() {
            // SAFETY: the panels have a place for each column of the row; the processor is the caller's promise.
            unsafe {
                let place = InPanels {
                    to: self.out.add(i * width),
                    first: self.columns.start,
                    width,
                    panel: self.panel,
                };
                let mut store = Store::<S, _>::new(self.right, place);
                self.right.visit::<S>(row, self.columns.clone(), &mut store);
            }
        }
    }
}

/// A row of each panel.
struct InPanels {
    to: *mut f32,
    /// The first column.
    first: usize,
    width: usize,
    panel: usize,
}

impl Place for InPanels {
    #[inline(always)]
    fn of(&self, at: usize) -> *mut f32 {
        let at = at - self.first;
        self.to
            .wrapping_add(at / self.width * self.panel + at % self.width)
    }
}
