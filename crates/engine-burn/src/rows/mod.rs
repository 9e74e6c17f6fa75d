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

use anylora_quant::GgmlFormat;

pub(crate) use blocks32::Blocks;
pub(crate) use dense::{BF16, Dense, F16, F32};
pub(crate) use nf4::{Nf4Rows, Scales};

use crate::simd::{Kernel, LANES, Simd};

/// The rows of a matrix `[N, K]`.
pub(crate) trait Rows: Sync {
    /// K.
    fn columns(&self) -> usize;

    /// Whether values come as pairs of a byte: of each 32, those at even places first.
    fn is_paired(&self) -> bool {
        false
    }

    /// Hands a row's values to the sink in order, from place 0 on; past the row's end zeros fill the sixteen.
    ///
    /// # Safety
    /// Row `row` exists, and the processor has S's features.
    unsafe fn visit<S: Simd>(&self, row: usize, sink: &mut impl Sink<S>);
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
                self.rows.visit::<S>(self.first + row, &mut sums);
                for (out, [a, b]) in out.iter_mut().zip(sums.sums) {
                    *out = S::sum(S::add(a, b));
                }
            }
        }
    }
}

/// One row's values in f32; K is a multiple of sixteen, and values don't come in pairs.
pub(crate) struct Expand<'a, R> {
    pub(crate) rows: &'a R,
    pub(crate) row: usize,
    /// `[K]`.
    pub(crate) out: &'a mut [f32],
}

struct Store(*mut f32);

impl<S: Simd> Sink<S> for Store {
    #[inline(always)]
    unsafe fn take<const SUM: usize>(&mut self, at: usize, values: S::F) {
        // SAFETY: the output has all places of a row; the processor is the caller's promise.
        unsafe { S::store(self.0.add(at), values) };
    }
}

impl<R: Rows> Kernel for Expand<'_, R> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        assert!(self.out.len() == self.rows.columns() && self.out.len().is_multiple_of(LANES));
        assert!(!self.rows.is_paired());
        // SAFETY: the length was checked; the processor and the row are the caller's promise.
        unsafe { self.rows.visit::<S>(self.row, &mut Store(self.out.as_mut_ptr())) };
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
