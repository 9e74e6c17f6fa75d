//! llama.cpp's blocks of 32 values, and rows of blocks of either length. The layouts and formulas are those of
//! [`anylora_quant::GgmlFormat`], which reads them value by value: formats of 4 bits become a table of sixteen values
//! a scale, others are computed.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Rows, Sink};
use crate::simd::{LANES, Simd};

/// A block format.
pub(crate) trait Block: Sync {
    /// Bytes a block.
    const BYTES: usize;
    /// Values a block.
    const LEN: usize;

    /// Hands the values of a block to the sink, its first at place `at`.
    ///
    /// # Safety
    /// `block` points to a block, and the processor has S's features.
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>);
}

/// `[N, columns]` in blocks.
pub(crate) struct Blocks<'a, T> {
    bytes: &'a [u8],
    columns: usize,
    format: PhantomData<T>,
}

impl<'a, T: Block> Blocks<'a, T> {
    /// Whole rows of whole blocks.
    pub(crate) fn new(bytes: &'a [u8], columns: usize) -> Self {
        assert!(columns.is_multiple_of(T::LEN));
        Self {
            bytes,
            columns,
            format: PhantomData,
        }
    }
}

impl<T: Block> Rows for Blocks<'_, T> {
    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    unsafe fn visit<S: Simd>(&self, row: usize, columns: Range<usize>, sink: &mut impl Sink<S>) {
        let blocks = self.columns / T::LEN;
        let bytes = &self.bytes[row * blocks * T::BYTES..(row + 1) * blocks * T::BYTES];
        for block in columns.start / T::LEN..columns.end / T::LEN {
            // SAFETY: block `block` lies in the row; the processor is the caller's promise.
            unsafe { T::visit::<S>(bytes.as_ptr().add(block * T::BYTES), block * T::LEN, sink) };
        }
    }
}

/// 0 to 15.
pub(super) const CODES: [f32; LANES] = [
    0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0,
];

/// -8 to 7.
const SIGNED_CODES: [f32; LANES] = [
    -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0,
];

/// The levels of IQ4_NL and IQ4_XS.
pub(super) const IQ4_LEVELS: [f32; LANES] = [
    -127.0, -104.0, -83.0, -65.0, -49.0, -35.0, -22.0, -10.0, 1.0, 13.0, 25.0, 38.0, 53.0, 69.0, 89.0, 113.0,
];

pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q8_0;
pub(crate) struct Iq4Nl;

/// 16 bytes of codes through a table: the low halves, then the high ones.
///
/// # Safety
/// As [`Block::visit`].
#[inline(always)]
pub(super) unsafe fn halves_of_bytes<S: Simd>(
    table: S::F,
    codes: *const u8,
    at: usize,
    sink: &mut impl Sink<S>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let codes = S::bytes(codes);
        sink.take::<0>(at, S::lookup(table, codes));
        sink.take::<1>(at + LANES, S::lookup(table, S::shift_right(codes, 4)));
    }
}

/// 5-bit codes in f32: fifth bits `[4]`, then the low four as in [`halves_of_bytes`].
///
/// # Safety
/// As [`Block::visit`].
#[inline(always)]
unsafe fn codes5<S: Simd>(from: *const u8) -> [S::F; 2] {
    // SAFETY: the caller's promise.
    unsafe {
        let fifth = u32::from_le(from.cast::<u32>().read_unaligned());
        let low = S::bytes(from.add(4));
        let codes = [S::and(low, 15), S::shift_right(low, 4)];
        [
            S::float(S::or(codes[0], S::where_set(fifth as u16, 16))),
            S::float(S::or(codes[1], S::where_set((fifth >> 16) as u16, 16))),
        ]
    }
}

impl Block for Q4_0 {
    const BYTES: usize = 18;
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let table = S::mul(S::splat(S::half(block)), S::load(SIGNED_CODES.as_ptr()));
            halves_of_bytes(table, block.add(2), at, sink);
        }
    }
}

impl Block for Q4_1 {
    const BYTES: usize = 20;
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let table = S::mul(S::splat(S::half(block)), S::load(CODES.as_ptr()));
            let table = S::add(table, S::splat(S::half(block.add(2))));
            halves_of_bytes(table, block.add(4), at, sink);
        }
    }
}

impl Block for Q5_0 {
    const BYTES: usize = 22;
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, middle) = (S::splat(S::half(block)), S::splat(-16.0));
            let codes = codes5::<S>(block.add(2));
            sink.take::<0>(at, S::mul(d, S::add(codes[0], middle)));
            sink.take::<1>(at + LANES, S::mul(d, S::add(codes[1], middle)));
        }
    }
}

impl Block for Q5_1 {
    const BYTES: usize = 24;
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, m) = (S::splat(S::half(block)), S::splat(S::half(block.add(2))));
            let codes = codes5::<S>(block.add(4));
            sink.take::<0>(at, S::add(S::mul(d, codes[0]), m));
            sink.take::<1>(at + LANES, S::add(S::mul(d, codes[1]), m));
        }
    }
}

impl Block for Q8_0 {
    const BYTES: usize = 34;
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let d = S::splat(S::half(block));
            let codes = |first: usize| S::float(S::signed_bytes(block.add(2 + first)));
            sink.take::<0>(at, S::mul(codes(0), d));
            sink.take::<1>(at + LANES, S::mul(codes(LANES), d));
        }
    }
}

impl Block for Iq4Nl {
    const BYTES: usize = 18;
    const LEN: usize = 32;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let table = S::mul(S::splat(S::half(block)), S::load(IQ4_LEVELS.as_ptr()));
            halves_of_bytes(table, block.add(2), at, sink);
        }
    }
}
