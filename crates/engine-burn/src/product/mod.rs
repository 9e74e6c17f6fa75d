//! Products of many rows.
//!
//! Both sides are packed into panels in the order in which they are read, the right side straight from how it is
//! stored, so that a frozen weight is unpacked once for a product and never lies in memory as a matrix of floats. Sums
//! stay in registers, a tile at a time. The loops are those of Goto and van de Geijn, "Anatomy of High-Performance Matrix
//! Multiplication" (2008), with one difference: whatever is packed is packed by all cores, for all of them.
//!
//! The order of a sum depends on the product's shape only.

mod pack;
#[cfg(test)]
mod tests;
mod tile;

use std::cell::Cell;
use std::ops::Range;

use pack::{LeftPanels, PlainRows, TransposedPanel};
use tile::Tiles;

use crate::rows::{Rows, STRIDE, WithRows};
use crate::simd::{Kernel, LANES, Level, Simd};
use crate::team;

/// What is summed over at a time: a panel of the left side stays in the first cache.
const DEPTH: usize = STRIDE;

/// Columns that are packed at a time: they stay in the cache that cores share.
const COLUMNS: usize = 8 * STRIDE;

/// Panels of either side that make a task, some 30 us.
const GROUP: usize = 4;

/// Rows of the right side that make a task where they are packed as they are.
const ROWS: usize = 16;

/// The left side of a product of M rows over K.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    /// `[M, K]`.
    Rows(&'a [f32]),
    /// Its transpose, `[K, M]`.
    Columns(&'a [f32]),
}

/// `out = left right`, or added to it.
pub(crate) struct Product<'a> {
    /// M, N, K.
    pub(crate) shape: [usize; 3],
    pub(crate) left: Left<'a>,
    /// Whether the right side is the rows' transpose, rows `[N, K]`; else they are `[K, N]`.
    pub(crate) is_transposed: bool,
    /// `[M, N]`.
    pub(crate) out: &'a mut [f32],
    /// Whether out's values are added to.
    pub(crate) adds: bool,
}

impl WithRows for Product<'_> {
    type Output = ();

    fn with<R: Rows>(self, right: &R) {
        self.run(Level::detect(), right);
    }
}

/// A pointer that tasks make disjoint parts of.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: whoever reads or writes through it says why tasks don't get in each other's way.
unsafe impl Sync for Shared {}

impl Shared {
    /// A method, so that closures take the whole and not its field.
    const fn add(self, count: usize) -> *mut f32 {
        self.0.wrapping_add(count)
    }
}

/// Packed panels, kept for the thread's next product.
#[derive(Default)]
struct Packed {
    left: Vec<f32>,
    right: Vec<f32>,
}

thread_local! {
    static PACKED: Cell<Packed> = Cell::default();
}

impl Product<'_> {
    fn run<R: Rows>(self, level: Level, right: &R) {
        let [m, n, k] = self.shape;
        let (Left::Rows(left) | Left::Columns(left)) = self.left;
        assert!(
            left.len() == m * k
                && self.out.len() == m * n
                && right.columns() == if self.is_transposed { k } else { n }
        );
        if k == 0 && !self.adds {
            self.out.fill(0.0);
        }
        let mut packed = PACKED.take();
        for columns in chunks(n, COLUMNS) {
            for inner in chunks(k, DEPTH) {
                let block = Block {
                    level,
                    tile: level.run(TileShape),
                    columns: columns.clone(),
                    inner,
                };
                block.pack(&self, right, &mut packed);
                block.multiply(&mut *self.out, [m, n], self.adds, &packed);
            }
        }
        PACKED.set(packed);
    }
}

/// Rows and columns of a tile.
struct TileShape;

impl Kernel for TileShape {
    type Output = [usize; 2];

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> [usize; 2] {
        [S::TILE_ROWS, S::TILE_VECTORS * LANES]
    }
}

fn chunks(len: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len)
        .step_by(size)
        .map(move |start| start..len.min(start + size))
}

/// Some columns of the product, and the part of their sums that is added now.
struct Block {
    level: Level,
    tile: [usize; 2],
    columns: Range<usize>,
    inner: Range<usize>,
}

impl Block {
    /// Elements of a panel of the left side: stores of sixteen lanes write past the last row's.
    fn left_panel(&self) -> usize {
        self.tile[0] * self.inner.len() + LANES
    }

    fn right_panel(&self) -> usize {
        self.tile[1] * self.inner.len()
    }

    fn pack<R: Rows>(&self, product: &Product<'_>, right: &R, packed: &mut Packed) {
        let ([m, n, _], [height, width]) = (product.shape, self.tile);
        let (left_panels, right_panels) = (m.div_ceil(height), self.columns.len().div_ceil(width));
        grow(&mut packed.left, left_panels * self.left_panel());
        grow(&mut packed.right, right_panels * self.right_panel());
        let (left_out, right_out) = (
            Shared(packed.left.as_mut_ptr()),
            Shared(packed.right.as_mut_ptr()),
        );
        let left_tasks = left_panels.div_ceil(GROUP);
        let right_tasks = if product.is_transposed {
            right_panels
        } else {
            self.inner.len().div_ceil(ROWS)
        };
        team::tasks(left_tasks + right_tasks, |task| {
            // SAFETY (all kernels): their panels, or the panels' rows, are within what was grown, and other tasks write
            // others.
            if let Some(task) = task.checked_sub(right_tasks) {
                for panel in group(task, left_panels) {
                    let row = panel * height;
                    self.level.run(LeftPanels {
                        left: product.left,
                        shape: product.shape,
                        rows: row..m.min(row + height),
                        inner: self.inner.clone(),
                        out: left_out.add(panel * self.left_panel()),
                    });
                }
            } else if product.is_transposed {
                let column = self.columns.start + task * width;
                self.level.run(TransposedPanel {
                    right,
                    rows: column..n.min(column + width),
                    inner: self.inner.clone(),
                    out: right_out.add(task * self.right_panel()),
                });
            } else {
                let row = self.inner.start + task * ROWS;
                self.level.run(PlainRows {
                    right,
                    rows: row..self.inner.end.min(row + ROWS),
                    columns: self.columns.clone(),
                    out: right_out.add(task * ROWS * width),
                    panel: self.right_panel(),
                });
            }
        });
    }

    fn multiply(&self, out: &mut [f32], [m, n]: [usize; 2], adds: bool, packed: &Packed) {
        let [height, width] = self.tile;
        let (left_panels, right_panels) = (m.div_ceil(height), self.columns.len().div_ceil(width));
        let (left_groups, right_groups) = (left_panels.div_ceil(GROUP), right_panels.div_ceil(GROUP));
        let out = Shared(out.as_mut_ptr());
        team::tasks(left_groups * right_groups, |task| {
            let (left, right) = (
                group(task % left_groups, left_panels),
                group(task / left_groups, right_panels),
            );
            let (row, column) = (left.start * height, self.columns.start + right.start * width);
            self.level.run(Tiles {
                depth: self.inner.len(),
                left: &packed.left[left.start * self.left_panel()..left.end * self.left_panel()],
                right: &packed.right[right.start * self.right_panel()..right.end * self.right_panel()],
                shape: [
                    m.min(left.end * height) - row,
                    self.columns.end.min(self.columns.start + right.end * width) - column,
                ],
                // The rows and columns that this task alone has.
                out: out.add(row * n + column),
                stride: n,
                adds: adds || self.inner.start > 0,
            });
        });
    }
}

/// The panels of a task.
fn group(task: usize, panels: usize) -> Range<usize> {
    task * GROUP..panels.min((task + 1) * GROUP)
}

fn grow(values: &mut Vec<f32>, len: usize) {
    if values.len() < len {
        values.resize(len, 0.0);
    }
}
