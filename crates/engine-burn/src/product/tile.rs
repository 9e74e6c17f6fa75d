//! Tiles: the sums that fit the registers.

use crate::simd::{Kernel, LANES, Simd};

/// The product of some panels of each side.
pub(super) struct Tiles<'a> {
    pub(super) depth: usize,
    /// Panels `[depth, TILE_ROWS]`, each with sixteen elements more.
    pub(super) left: &'a [f32],
    /// Panels `[depth, TILE_VECTORS * 16]`.
    pub(super) right: &'a [f32],
    /// Rows and columns of the product.
    pub(super) shape: [usize; 2],
    /// `[rows, columns]` with rows `stride` apart, which nobody else has.
    pub(super) out: *mut f32,
    pub(super) stride: usize,
    pub(super) adds: bool,
}

/// Products that are added one after the other before their sum is added to out. Whole panels in one chain would round
/// more, and differ from other implementations more: a token whose activations are large shows it.
const CHAIN: usize = 64;

/// Elements of the largest tile.
const LARGEST: usize = 14 * 2 * LANES;

impl Kernel for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let ([m, n], width) = (self.shape, S::TILE_VECTORS * LANES);
        let left = self.left.chunks_exact(S::TILE_ROWS * self.depth + LANES);
        for (left, row) in left.zip((0..m).step_by(S::TILE_ROWS)) {
            let right = self.right.chunks_exact(width * self.depth);
            for (right, column) in right.zip((0..n).step_by(width)) {
                let (rows, columns) = (S::TILE_ROWS.min(m - row), width.min(n - column));
                let mut tile = Tile {
                    depth: self.depth,
                    left: left.as_ptr(),
                    right: right.as_ptr(),
                    out: self.out.wrapping_add(row * self.stride + column),
                    stride: self.stride,
                    adds: self.adds,
                };
                // SAFETY: the panels have `depth` of their rows, and `out` the tile's rows and columns; the processor is the
                // caller's promise.
                unsafe {
                    if columns == width {
                        tile.all_vectors::<S>(rows, columns);
                        continue;
                    }
                    let mut sums = [0.0; LARGEST];
                    let out = tile.out;
                    (tile.out, tile.stride, tile.adds) = (sums.as_mut_ptr(), width, false);
                    tile.all_vectors::<S>(rows, columns);
                    for (row, sums) in sums.chunks_exact(width).enumerate().take(rows) {
                        for (column, sum) in sums.iter().enumerate().take(columns) {
                            let out = out.add(row * self.stride + column);
                            *out = if self.adds { *out + sum } else { *sum };
                        }
                    }
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Tile {
    depth: usize,
    left: *const f32,
    right: *const f32,
    out: *mut f32,
    stride: usize,
    adds: bool,
}

/// # Safety
/// All functions: the panels have the tile's rows and columns, out has room for whole sixteens of them, and the processor
/// has S's features.
impl Tile {
    #[inline(always)]
    unsafe fn all_vectors<S: Simd>(self, rows: usize, columns: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if S::TILE_VECTORS == 2 && columns > LANES {
                self.all_rows::<S, 2>(rows);
            } else {
                self.all_rows::<S, 1>(rows);
            }
        }
    }

    #[inline(always)]
    unsafe fn all_rows<S: Simd, const V: usize>(mut self, mut rows: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            if rows == S::TILE_ROWS {
                return match S::TILE_ROWS {
                    14 => self.sums::<S, 14, V>(),
                    6 => self.sums::<S, 6, V>(),
                    _ => self.sums::<S, 4, V>(),
                };
            }
            while rows > 0 {
                let done = match rows {
                    8.. => self.sums_of::<S, 8, V>(),
                    4.. => self.sums_of::<S, 4, V>(),
                    2.. => self.sums_of::<S, 2, V>(),
                    _ => self.sums_of::<S, 1, V>(),
                };
                rows -= done;
                self.left = self.left.add(done);
                self.out = self.out.wrapping_add(done * self.stride);
            }
        }
    }

    #[inline(always)]
    unsafe fn sums_of<S: Simd, const H: usize, const V: usize>(self) -> usize {
        // SAFETY: the caller's promise.
        unsafe { self.sums::<S, H, V>() };
        H
    }

    #[inline(always)]
    unsafe fn sums<S: Simd, const H: usize, const V: usize>(mut self) {
        // SAFETY: the caller's promise.
        unsafe {
            while self.depth > 0 {
                let depth = self.depth.min(CHAIN);
                let mut sums = [[S::splat(0.0); V]; H];
                for _ in 0..depth {
                    let mut columns = [S::splat(0.0); V];
                    for (v, column) in columns.iter_mut().enumerate() {
                        *column = S::load(self.right.add(v * LANES));
                    }
                    for (h, sums) in sums.iter_mut().enumerate() {
                        let value = S::splat(*self.left.add(h));
                        for (sum, column) in sums.iter_mut().zip(columns) {
                            *sum = S::mul_add(value, column, *sum);
                        }
                    }
                    self.left = self.left.add(S::TILE_ROWS);
                    self.right = self.right.add(S::TILE_VECTORS * LANES);
                }
                for (h, sums) in sums.into_iter().enumerate() {
                    for (v, sum) in sums.into_iter().enumerate() {
                        let out = self.out.add(h * self.stride + v * LANES);
                        let sum = if self.adds { S::add(S::load(out), sum) } else { sum };
                        S::store(out, sum);
                    }
                }
                (self.depth, self.adds) = (self.depth - depth, true);
            }
        }
    }
}
