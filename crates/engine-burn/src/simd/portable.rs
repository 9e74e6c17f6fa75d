//! Plain loops over arrays, which compilers turn into what every processor of an architecture has (NEON on AArch64).

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "only pointers are read and written, under the promise that the trait asks for"
)]

use std::array::from_fn;

use half::{bf16, f16};

use super::{LANES, Simd};

#[derive(Clone, Copy)]
pub(super) struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];

impl Simd for Portable {
    type F = F;
    type I = I;

    // Of 32 registers of four f32 16 are sums; where there are only 16, some are kept in the cache.
    const TILE_ROWS: usize = 4;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> F {
        [value; LANES]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        from.cast::<F>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: F) {
        to.cast::<F>().write_unaligned(x);
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn mul_add(a: F, b: F, c: F) -> F {
        // Fused, it would be a call on processors without the instruction.
        if cfg!(target_arch = "aarch64") {
            from_fn(|i| a[i].mul_add(b[i], c[i]))
        } else {
            from_fn(|i| a[i] * b[i] + c[i])
        }
    }

    #[inline(always)]
    unsafe fn sum(x: F) -> f32 {
        let x: [f32; 8] = from_fn(|i| x[i] + x[i + 8]);
        let x: [f32; 4] = from_fn(|i| x[i] + x[i + 4]);
        (x[0] + x[2]) + (x[1] + x[3])
    }

    #[inline(always)]
    unsafe fn half(from: *const u8) -> f32 {
        f16::from_le_bytes(from.cast::<[u8; 2]>().read()).to_f32()
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> F {
        from_fn(|i| Self::half(from.add(2 * i)))
    }

    #[inline(always)]
    unsafe fn brains(from: *const u8) -> F {
        from_fn(|i| bf16::from_le_bytes(from.add(2 * i).cast::<[u8; 2]>().read()).to_f32())
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> I {
        from.cast::<[u8; LANES]>().read().map(i32::from)
    }

    #[inline(always)]
    unsafe fn signed_bytes(from: *const u8) -> I {
        from.cast::<[i8; LANES]>().read().map(i32::from)
    }

    #[inline(always)]
    unsafe fn shift_right(x: I, count: u32) -> I {
        x.map(|x| (x as u32 >> count) as i32)
    }

    #[inline(always)]
    unsafe fn shift_left(x: I, count: u32) -> I {
        x.map(|x| x << count)
    }

    #[inline(always)]
    unsafe fn and(x: I, mask: i32) -> I {
        x.map(|x| x & mask)
    }

    #[inline(always)]
    unsafe fn or(a: I, b: I) -> I {
        from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    unsafe fn where_set(bits: u16, value: i32) -> I {
        from_fn(|i| if bits >> i & 1 == 1 { value } else { 0 })
    }

    #[inline(always)]
    unsafe fn float(x: I) -> F {
        x.map(|x| x as f32)
    }

    #[inline(always)]
    unsafe fn lookup(table: F, x: I) -> F {
        x.map(|x| table[(x & 15) as usize])
    }

    #[inline(always)]
    unsafe fn interleave(a: F, b: F) -> [F; 2] {
        [0, LANES].map(|first| {
            from_fn(|i| {
                let at = first + i;
                if at % 2 == 0 { a[at / 2] } else { b[at / 2] }
            })
        })
    }

    #[inline(always)]
    unsafe fn transpose(rows: [F; LANES]) -> [F; LANES] {
        from_fn(|column| from_fn(|row| rows[row][column]))
    }
}
