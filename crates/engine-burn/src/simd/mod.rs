//! Sixteen lanes at a time, at the level that the processor has.
//!
//! A [`Kernel`] is written once, over [`Simd`]; [`Level::run`] compiles it for each level and runs the one that was
//! detected. Levels differ in rounding only: with fused multiply-adds where there are any.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod exp;
mod portable;

pub(crate) use exp::{Exp, Max, SumExp, exp};
use portable::Portable;

/// Lanes of [`Simd::F`] and [`Simd::I`].
pub(crate) const LANES: usize = 16;

/// Sixteen f32 and sixteen i32, and what kernels do with them.
///
/// # Safety
/// All functions: the processor has the features that [`Level`] detects for the implementor, and pointers are to as
/// many elements as are read or written. No alignment is asked for.
pub(crate) trait Simd: Copy {
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;

    /// Rows of a product's tile whose sums fit the registers, beside [`Simd::TILE_VECTORS`] of its other side.
    const TILE_ROWS: usize;
    /// Sixteens of a tile's columns.
    const TILE_VECTORS: usize;

    unsafe fn splat(value: f32) -> Self::F;
    unsafe fn load(from: *const f32) -> Self::F;
    unsafe fn store(to: *mut f32, x: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    /// `a b + c`, rounded once where the processor can.
    unsafe fn mul_add(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The sum of all lanes.
    unsafe fn sum(x: Self::F) -> f32;
    /// One f16, little-endian.
    unsafe fn half(from: *const u8) -> f32;
    /// Sixteen f16, little-endian.
    unsafe fn halves(from: *const u8) -> Self::F;
    /// Sixteen bf16, little-endian.
    unsafe fn brains(from: *const u8) -> Self::F;
    /// Sixteen u8.
    unsafe fn bytes(from: *const u8) -> Self::I;
    /// Sixteen i8.
    unsafe fn signed_bytes(from: *const u8) -> Self::I;
    unsafe fn shift_right(x: Self::I, count: u32) -> Self::I;
    unsafe fn shift_left(x: Self::I, count: u32) -> Self::I;
    unsafe fn and(x: Self::I, mask: i32) -> Self::I;
    unsafe fn or(a: Self::I, b: Self::I) -> Self::I;
    /// `value` in the lanes whose bit is set, else 0.
    unsafe fn where_set(bits: u16, value: i32) -> Self::I;
    unsafe fn float(x: Self::I) -> Self::F;
    /// The table's entry of each lane's low four bits.
    unsafe fn lookup(table: Self::F, x: Self::I) -> Self::F;
    /// The lanes of both by turns: the first sixteen, and the second.
    unsafe fn interleave(a: Self::F, b: Self::F) -> [Self::F; 2];
    /// Lane i of row j becomes lane j of row i.
    unsafe fn transpose(rows: [Self::F; LANES]) -> [Self::F; LANES];
}

/// A loop that is compiled for every level.
pub(crate) trait Kernel {
    type Output;

    /// Implementors mark it `#[inline(always)]`, so that it becomes part of the function with the level's features; what
    /// they hand to iterators as closures does not.
    ///
    /// # Safety
    /// The processor has S's features.
    unsafe fn run<S: Simd>(self) -> Self::Output;
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// The widest that this processor runs; the standard library caches the detection.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c")
        {
            return if is_x86_feature_detected!("avx512f") {
                Self::Avx512
            } else {
                Self::Avx2
            };
        }
        Self::Portable
    }

    /// All that this processor runs.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Self> {
        match Self::detect() {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => vec![Self::Portable, Self::Avx2, Self::Avx512],
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => vec![Self::Portable, Self::Avx2],
            Self::Portable => vec![Self::Portable],
        }
    }

    /// Runs the kernel. The level is one that [`Level::detect`] gave, or below it.
    #[inline]
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            // SAFETY: it needs no features.
            Self::Portable => unsafe { kernel.run::<Portable>() },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found its features.
            Self::Avx2 => unsafe { avx2::run(kernel) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` found its features.
            Self::Avx512 => unsafe { avx512::run(kernel) },
        }
    }
}

/// `sum(a b)` of two slices of one length.
///
/// # Safety
/// The processor has S's features.
#[inline(always)]
pub(crate) unsafe fn dot<S: Simd>(a: &[f32], b: &[f32]) -> f32 {
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    // SAFETY: the arrays have sixteen; the processor is the caller's promise.
    let whole = unsafe {
        let mut sum = S::splat(0.0);
        for (a, b) in a.iter().zip(b) {
            sum = S::mul_add(S::load(a.as_ptr()), S::load(b.as_ptr()), sum);
        }
        S::sum(sum)
    };
    a_rest.iter().zip(b_rest).fold(whole, |sum, (a, b)| sum + a * b)
}

/// `out += factor * x`, of one length.
///
/// # Safety
/// The processor has S's features.
#[inline(always)]
pub(crate) unsafe fn add_scaled<S: Simd>(out: &mut [f32], factor: f32, x: &[f32]) {
    let (out, out_rest) = out.as_chunks_mut::<LANES>();
    let (x, x_rest) = x.as_chunks::<LANES>();
    // SAFETY: the arrays have sixteen; the processor is the caller's promise.
    unsafe {
        let factor = S::splat(factor);
        for (out, x) in out.iter_mut().zip(x) {
            let sum = S::mul_add(factor, S::load(x.as_ptr()), S::load(out.as_ptr()));
            S::store(out.as_mut_ptr(), sum);
        }
    }
    for (out, x) in out_rest.iter_mut().zip(x_rest) {
        *out += factor * x;
    }
}
