//! llama.cpp's blocks of 256 values: groups of 16 or 32 with scales of few bits under a common f16.

use super::Sink;
use super::blocks32::{Block, CODES, IQ4_LEVELS, halves_of_bytes};
use crate::simd::{LANES, Simd};

pub(crate) struct Q2K;
pub(crate) struct Q3K;
pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;
pub(crate) struct Iq4Xs;

/// Runs `each(i, j, l)` over halves of 128 values, groups of 32 in them, and sixteens in those.
macro_rules! sixteens {
    (|$half:ident, $group:ident, $part:ident| $each:expr) => {
        for $half in 0..2usize {
            for $group in 0..4usize {
                for $part in 0..2usize {
                    $each
                }
            }
        }
    };
}

/// Hands sixteen values over with the sum of their part.
macro_rules! take {
    ($sink:ident, $part:ident, $at:expr, $values:expr) => {
        if $part == 0 {
            $sink.take::<0>($at, $values);
        } else {
            $sink.take::<1>($at, $values);
        }
    };
}

impl Block for Q2K {
    const BYTES: usize = 84;
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = (S::half(block.add(80)), S::half(block.add(82)));
            sixteens!(|half, group, part| {
                let scale = *block.add(half * 8 + group * 2 + part);
                let dl = S::splat(d * f32::from(scale & 15));
                let ml = S::splat(-(dmin * f32::from(scale >> 4)));
                let codes = S::bytes(block.add(16 + half * 32 + part * LANES));
                let codes = S::float(S::and(S::shift_right(codes, 2 * group as u32), 3));
                let place = at + half * 128 + group * 32 + part * LANES;
                take!(sink, part, place, S::add(S::mul(dl, codes), ml));
            });
        }
    }
}

impl Block for Q3K {
    const BYTES: usize = 110;
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, packed) = (S::half(block.add(108)), block.add(96));
            sixteens!(|half, group, part| {
                let index = half * 8 + group * 2 + part;
                let low = *packed.add(index % 8) >> (4 * (index / 8)) & 15;
                let high = *packed.add(8 + index % 4) >> (2 * (index / 4)) & 3;
                let scale = S::splat(d * f32::from((low | high << 4) as i8 - 32));
                let low = S::bytes(block.add(32 + half * 32 + part * LANES));
                let low = S::and(S::shift_right(low, 2 * group as u32), 3);
                let high = S::bytes(block.add(part * LANES));
                let high = S::and(S::shift_right(high, (half * 4 + group) as u32), 1);
                let codes = S::float(S::or(low, S::shift_left(high, 2)));
                let place = at + half * 128 + group * 32 + part * LANES;
                take!(sink, part, place, S::mul(scale, S::add(codes, S::splat(-4.0))));
            });
        }
    }
}

/// Scale and minimum of one group of 32 in Q4_K and Q5_K, 6 bits each in 12 bytes: the first four whole with the upper
/// bits of the last four above them, then the lower bits of the last four.
///
/// # Safety
/// `packed` points to 12 bytes.
#[inline(always)]
unsafe fn scale_and_minimum(packed: *const u8, group: usize) -> (f32, f32) {
    // SAFETY: the caller's promise.
    let byte = |at: usize| unsafe { *packed.add(at) };
    let (scale, minimum) = if group < 4 {
        (byte(group) & 63, byte(4 + group) & 63)
    } else {
        let low = byte(4 + group);
        (
            low & 15 | byte(group - 4) >> 2 & 48,
            low >> 4 | byte(group) >> 2 & 48,
        )
    };
    (f32::from(scale), f32::from(minimum))
}

impl Block for Q4K {
    const BYTES: usize = 144;
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = (S::half(block), S::half(block.add(2)));
            let codes = S::load(CODES.as_ptr());
            for pair in 0..4 {
                let mut tables = [codes; 2];
                for (half, table) in tables.iter_mut().enumerate() {
                    let (scale, minimum) = scale_and_minimum(block.add(4), 2 * pair + half);
                    let minimum = S::splat(-(dmin * minimum));
                    *table = S::add(S::mul(S::splat(d * scale), *table), minimum);
                }
                for part in 0..2 {
                    let packed = S::bytes(block.add(16 + pair * 32 + part * LANES));
                    let place = at + pair * 64 + part * LANES;
                    sink.take::<0>(place, S::lookup(tables[0], packed));
                    sink.take::<1>(place + 32, S::lookup(tables[1], S::shift_right(packed, 4)));
                }
            }
        }
    }
}

impl Block for Q5K {
    const BYTES: usize = 176;
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, dmin) = (S::half(block), S::half(block.add(2)));
            for group in 0..8 {
                let (scale, minimum) = scale_and_minimum(block.add(4), group);
                let (dl, ml) = (S::splat(d * scale), S::splat(-(dmin * minimum)));
                for part in 0..2 {
                    let low = S::bytes(block.add(48 + group / 2 * 32 + part * LANES));
                    let low = S::and(S::shift_right(low, 4 * (group % 2) as u32), 15);
                    let high = S::bytes(block.add(16 + part * LANES));
                    let high = S::and(S::shift_right(high, group as u32), 1);
                    let codes = S::float(S::or(low, S::shift_left(high, 4)));
                    let place = at + group * 32 + part * LANES;
                    take!(sink, part, place, S::add(S::mul(dl, codes), ml));
                }
            }
        }
    }
}

impl Block for Q6K {
    const BYTES: usize = 210;
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let d = S::half(block.add(208));
            sixteens!(|half, group, part| {
                let scale = *block.add(192 + half * 8 + group * 2 + part) as i8;
                let scale = S::splat(d * f32::from(scale));
                let low = S::bytes(block.add(half * 64 + group % 2 * 32 + part * LANES));
                let low = S::and(S::shift_right(low, 4 * (group / 2) as u32), 15);
                let high = S::bytes(block.add(128 + half * 32 + part * LANES));
                let high = S::and(S::shift_right(high, 2 * group as u32), 3);
                let codes = S::float(S::or(low, S::shift_left(high, 4)));
                let place = at + half * 128 + group * 32 + part * LANES;
                take!(sink, part, place, S::mul(scale, S::add(codes, S::splat(-32.0))));
            });
        }
    }
}

impl Block for Iq4Xs {
    const BYTES: usize = 136;
    const LEN: usize = 256;

    #[inline(always)]
    unsafe fn visit<S: Simd>(block: *const u8, at: usize, sink: &mut impl Sink<S>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (d, high) = (S::half(block), [*block.add(2), *block.add(3)]);
            let (high, levels) = (u16::from_le_bytes(high), S::load(IQ4_LEVELS.as_ptr()));
            for group in 0..8 {
                let low = *block.add(4 + group / 2) >> (4 * (group % 2)) & 15;
                let scale = low | ((high >> (2 * group) & 3) as u8) << 4;
                let table = S::mul(S::splat(d * f32::from(scale as i8 - 32)), levels);
                halves_of_bytes(table, block.add(8 + group * LANES), at + group * 32, sink);
            }
        }
    }
}
