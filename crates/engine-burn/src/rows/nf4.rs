//! bitsandbytes' 4 bits an element: blocks of the flattened matrix, the element with the even index in a byte's high
//! half.

use std::ops::Range;

use anylora_quant::{DYNAMIC_MAP_SIGNED, NESTED_BLOCK};

use super::{Rows, Sink};
use crate::simd::{LANES, Simd};

/// The scale of each block.
pub(crate) enum Scales<'a> {
    F32(&'a [f32]),
    Double {
        codes: &'a [u8],
        nested: &'a [f32],
        offset: f32,
    },
}

impl Scales<'_> {
    #[inline(always)]
    fn of(&self, block: usize) -> f32 {
        match self {
            Self::F32(absmax) => absmax[block],
            Self::Double {
                codes,
                nested,
                offset,
            } => DYNAMIC_MAP_SIGNED[usize::from(codes[block])] * nested[block / NESTED_BLOCK] + offset,
        }
    }
}

/// `[N, columns]` of NF4 or FP4. Columns are a multiple of 32, so that no byte and no block of 32 crosses rows.
pub(crate) struct Nf4Rows<'a> {
    pub(crate) packed: &'a [u8],
    pub(crate) scales: Scales<'a>,
    pub(crate) levels: &'a [f32; 16],
    /// A power of two from 32 on.
    pub(crate) block_size: usize,
    pub(crate) columns: usize,
}

impl Rows for Nf4Rows<'_> {
    fn columns(&self) -> usize {
        self.columns
    }

    fn is_paired(&self) -> bool {
        true
    }

    #[inline(always)]
    unsafe fn visit<S: Simd>(&self, row: usize, columns: Range<usize>, sink: &mut impl Sink<S>) {
        let start = row * self.columns;
        let packed = &self.packed[start / 2..(start + self.columns) / 2];
        let shift = self.block_size.trailing_zeros();
        // SAFETY: of each 32 values the 16 bytes lie in the row; the processor is the caller's promise.
        unsafe {
            let levels = S::load(self.levels.as_ptr());
            let mut at = columns.start;
            while at < columns.end {
                let block = (start + at) >> shift;
                let table = S::mul(S::splat(self.scales.of(block)), levels);
                let end = columns.end.min(((block + 1) << shift) - start);
                while at < end {
                    let codes = S::bytes(packed.as_ptr().add(at / 2));
                    sink.take::<0>(at, S::lookup(table, S::shift_right(codes, 4)));
                    sink.take::<1>(at + LANES, S::lookup(table, codes));
                    at += 2 * LANES;
                }
            }
        }
    }
}
