//! Rows of frozen weights as they are stored, unpacked sixteen values at a time in registers: to multiply them with
//! few vectors, or to expand them.
//!
//! What is unpacked has the bits of the dequantized weight, so that a product differs from the one with that only by
//! the order of its sum.

mod blocks256;
mod blocks32;
mod dense;
mod nf4;
#[cfg(test)]
mod tests;

use std::ops::Range;

use anylora_quant::GgmlFormat;

pub(crate) use blocks32::Blocks;
pub(crate) use dense::{BF16, Dense, F16, F32};
pub(crate) use nf4::{Nf4Rows, Scales};

use crate::simd::{Kernel, LANES, Simd};

/// Parts of rows begin at its multiples: the longest block.
pub(crate) const STRIDE: usize = 256;

/// The rows of a matrix `[N, K]`.
pub(crate) trait Rows: Sync {
    /// K.
    fn columns(&self) -> usize;

    /// Whether values come as pairs of a byte: of each 32, those at even places first.
    fn is_paired(&self) -> bool {
        false
    }

    /// Hands a row's values of some columns to the sink in order; past the row's end zeros fill the sixteen. The columns
    /// begin at a multiple of [`STRIDE`], and end at one or with the row.
    ///
    /// # Safety
    /// Row and columns exist, and the processor has S's features.
    unsafe fn visit<S: Simd>(&self, row: usize, columns: Range<usize>, sink: &mut impl Sink<S>);
}

/// What becomes of a row's values.
pub(crate) trait Sink<S: Simd> {
    /// Sixteen values from place `at` on. `SUM` (0 or 1) alternates, so that sums need not wait for each other.
    ///
    /// # Safety
    /// The place is one that [`Rows::visit`] names, and the processor has S's features.
    unsafe fn take<const SUM: usize>(&mut self, at: usize, values: S::F);
}

/// `out[i, m] = sum over k of W[first + i, k] x[m, k]`.
pub(crate) struct Products<'a, R, const M: usize> {
    pub(crate) rows: &'a R,
    /// The first row.
    pub(crate) first: usize,
    /// In the order of the rows' values, with zeros up to a multiple of sixteen.
    pub(crate) x: [&'a [f32]; M],
    /// `[rows, M]`.
    pub(crate) out: &'a mut [[f32; M]],
}

struct Sums<S: Simd, const M: usize> {
    x: [*const f32; M],
    sums: [[S::F; 2]; M],
}

impl<S: Simd, const M: usize> Sink<S> for Sums<S, M> {
    #[inline(always)]
    unsafe fn take<const SUM: usize>(&mut self, at: usize, values: S::F) {
        for m in 0..M {
            // SAFETY: x has all places of a row.
            let x = unsafe { S::load(self.x[m].add(at)) };
            // SAFETY: the caller's promise about the processor.
            self.sums[m][SUM] = unsafe { S::mul_add(values, x, self.sums[m][SUM]) };
        }
    }
}

impl<R: Rows, const M: usize> Kernel for Products<'_, R, M> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let places = self.rows.columns().next_multiple_of(LANES);
        assert!(self.x.iter().all(|x| x.len() >= places));
        for (row, out) in self.out.iter_mut().enumerate() {
            // SAFETY: the processor is the caller's promise; the rows are those of the matrix, and x was checked.
            unsafe {
                let mut sums = Sums::<S, M> {
                    x: self.x.map(<[f32]>::as_ptr),
                    sums: [[S::splat(0.0); 2]; M],
                };
                let columns = 0..self.rows.columns();
                self.rows.visit::<S>(self.first + row, columns, &mut sums);
                for (out, [a, b]) in out.iter_mut().zip(sums.sums) {
                    *out = S::sum(S::add(a, b));
                }
            }
        }
    }
}

/// Values of one row in f32.
pub(crate) struct Expand<'a, R> {
    pub(crate) rows: &'a R,
    pub(crate) row: usize,
    /// As [`Rows::visit`] takes them.
    pub(crate) columns: Range<usize>,
    /// Those columns and, up to a multiple of sixteen, zeros.
    pub(crate) out: &'a mut [f32],
}

impl<R: Rows> Kernel for Expand<'_, R> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        assert!(self.out.len() >= self.columns.len().next_multiple_of(LANES));
        let first = self.columns.start;
        let to = self.out.as_mut_ptr();
        // SAFETY: the length was checked; the processor and the row are the caller's promise.
        unsafe {
            let mut store = Store::<S, _>::new(self.rows, InRow { to, first });
            self.rows.visit::<S>(self.row, self.columns, &mut store);
        }
    }
}

/// Where values of a row are stored.
pub(crate) trait Place {
    /// The place of sixteen values, the first of them in column `at`.
    fn of(&self, at: usize) -> *mut f32;
}

/// One after the other.
struct InRow {
    to: *mut f32,
    /// The first column.
    first: usize,
}

impl Place for InRow {
    #[inline(always)]
    fn of(&self, at: usize) -> *mut f32 {
        self.to.wrapping_add(at - self.first)
    }
}

/// Stores values in the order of their columns.
pub(crate) struct Store<S: Simd, P> {
    place: P,
    is_paired: bool,
    even: S::F,
}

impl<S: Simd, P> Store<S, P> {
    /// # Safety
    /// The processor has S's features.
    #[inline(always)]
    pub(crate) unsafe fn new(rows: &impl Rows, place: P) -> Self {
        Self {
            place,
            is_paired: rows.is_paired(),
            // SAFETY: the caller's promise.
            even: unsafe { S::splat(0.0) },
        }
    }
}

impl<S: Simd, P: Place> Sink<S> for Store<S, P> {
    #[inline(always)]
    unsafe fn take<const SUM: usize>(&mut self, at: usize, values: S::F) {
        // SAFETY: whoever made the place has room for all that is visited; the processor is the caller's promise.
        unsafe {
            if !self.is_paired {
                S::store(self.place.of(at), values);
            } else if SUM == 0 {
                self.even = values;
            } else {
                let [first, second] = S::interleave(self.even, values);
                S::store(self.place.of(at - LANES), first);
                S::store(self.place.of(at), second);
            }
        }
    }
}

/// What runs with the rows of a type that is known only when it runs.
pub(crate) trait WithRows {
    type Output;

    fn with<R: Rows>(self, rows: &R) -> Self::Output;
}

/// The rows `[N, columns]` of llama.cpp's blocks.
pub(crate) fn ggml<W: WithRows>(format: GgmlFormat, bytes: &[u8], columns: usize, user: W) -> W::Output {
    use {blocks32 as small, blocks256 as large};
    match format {
        GgmlFormat::Q4_0 => user.with(&Blocks::<small::Q4_0>::new(bytes, columns)),
        GgmlFormat::Q4_1 => user.with(&Blocks::<small::Q4_1>::new(bytes, columns)),
        GgmlFormat::Q5_0 => user.with(&Blocks::<small::Q5_0>::new(bytes, columns)),
        GgmlFormat::Q5_1 => user.with(&Blocks::<small::Q5_1>::new(bytes, columns)),
        GgmlFormat::Q8_0 => user.with(&Blocks::<small::Q8_0>::new(bytes, columns)),
        GgmlFormat::Iq4Nl => user.with(&Blocks::<small::Iq4Nl>::new(bytes, columns)),
        GgmlFormat::Q2K => user.with(&Blocks::<large::Q2K>::new(bytes, columns)),
        GgmlFormat::Q3K => user.with(&Blocks::<large::Q3K>::new(bytes, columns)),
        GgmlFormat::Q4K => user.with(&Blocks::<large::Q4K>::new(bytes, columns)),
        GgmlFormat::Q5K => user.with(&Blocks::<large::Q5K>::new(bytes, columns)),
        GgmlFormat::Q6K => user.with(&Blocks::<large::Q6K>::new(bytes, columns)),
        GgmlFormat::Iq4Xs => user.with(&Blocks::<large::Iq4Xs>::new(bytes, columns)),
    }
}
