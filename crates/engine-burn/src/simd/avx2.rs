//! AVX2 with FMA and F16C: two registers.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "each function is a few intrinsics, under the promise that the trait asks for"
)]

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

#[derive(Clone, Copy)]
pub(super) struct Avx2;

type F = [__m256; 2];
type I = [__m256i; 2];

/// # Safety
/// The processor has these features.
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx2>()
}

impl Simd for Avx2 {
    type F = F;
    type I = I;

    // 12 of the 16 registers are sums.
    const TILE_ROWS: usize = 6;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    unsafe fn splat(value: f32) -> F {
        [_mm256_set1_ps(value); 2]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> F {
        [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))]
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: F) {
        _mm256_storeu_ps(to, x[0]);
        _mm256_storeu_ps(to.add(8), x[1]);
    }

    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        [_mm256_add_ps(a[0], b[0]), _mm256_add_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn mul_add(a: F, b: F, c: F) -> F {
        [
            _mm256_fmadd_ps(a[0], b[0], c[0]),
            _mm256_fmadd_ps(a[1], b[1], c[1]),
        ]
    }

    #[inline(always)]
    unsafe fn sum(x: F) -> f32 {
        let x = _mm256_add_ps(x[0], x[1]);
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps::<1>(x, x)))
    }

    #[inline(always)]
    unsafe fn half(from: *const u8) -> f32 {
        let bits = from.cast::<u16>().read_unaligned();
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> F {
        let eight = |at: usize| _mm256_cvtph_ps(_mm_loadu_si128(from.add(at).cast()));
        [eight(0), eight(16)]
    }

    #[inline(always)]
    unsafe fn brains(from: *const u8) -> F {
        let eight = |at: usize| {
            let upper = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.add(at).cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(upper))
        };
        [eight(0), eight(16)]
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> I {
        let eight = |at: usize| _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(at).cast()));
        [eight(0), eight(8)]
    }

    #[inline(always)]
    unsafe fn signed_bytes(from: *const u8) -> I {
        let eight = |at: usize| _mm256_cvtepi8_epi32(_mm_loadl_epi64(from.add(at).cast()));
        [eight(0), eight(8)]
    }

    #[inline(always)]
    unsafe fn shift_right(x: I, count: u32) -> I {
        let count = _mm_cvtsi32_si128(count as i32);
        [_mm256_srl_epi32(x[0], count), _mm256_srl_epi32(x[1], count)]
    }

    #[inline(always)]
    unsafe fn shift_left(x: I, count: u32) -> I {
        let count = _mm_cvtsi32_si128(count as i32);
        [_mm256_sll_epi32(x[0], count), _mm256_sll_epi32(x[1], count)]
    }

    #[inline(always)]
    unsafe fn and(x: I, mask: i32) -> I {
        let mask = _mm256_set1_epi32(mask);
        [_mm256_and_si256(x[0], mask), _mm256_and_si256(x[1], mask)]
    }

    #[inline(always)]
    unsafe fn or(a: I, b: I) -> I {
        [_mm256_or_si256(a[0], b[0]), _mm256_or_si256(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn where_set(bits: u16, value: i32) -> I {
        let (bits, value) = (_mm256_set1_epi32(i32::from(bits)), _mm256_set1_epi32(value));
        let first = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
        [first, _mm256_slli_epi32::<8>(first)].map(|lane| {
            let is_set = _mm256_cmpeq_epi32(_mm256_and_si256(bits, lane), lane);
            _mm256_and_si256(is_set, value)
        })
    }

    #[inline(always)]
    unsafe fn float(x: I) -> F {
        [_mm256_cvtepi32_ps(x[0]), _mm256_cvtepi32_ps(x[1])]
    }

    #[inline(always)]
    unsafe fn lookup(table: F, x: I) -> F {
        // The permutation reads three bits; the fourth, in the sign's place, picks the table's half.
        let pick = |x: __m256i| {
            let halves = [
                _mm256_permutevar8x32_ps(table[0], x),
                _mm256_permutevar8x32_ps(table[1], x),
            ];
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(x));
            _mm256_blendv_ps(halves[0], halves[1], upper)
        };
        [pick(x[0]), pick(x[1])]
    }

    #[inline(always)]
    unsafe fn interleave(a: F, b: F) -> [F; 2] {
        [interleave8(a[0], b[0]), interleave8(a[1], b[1])]
    }

    #[inline(always)]
    unsafe fn transpose(rows: [F; LANES]) -> [F; LANES] {
        let mut columns = rows;
        for upper in [0, 1] {
            for half in [0, 1] {
                let mut eight = [rows[0][0]; 8];
                for i in 0..8 {
                    eight[i] = rows[upper * 8 + i][half];
                }
                let eight = transpose8(eight);
                for i in 0..8 {
                    columns[half * 8 + i][upper] = eight[i];
                }
            }
        }
        columns
    }
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn interleave8(a: __m256, b: __m256) -> [__m256; 2] {
    let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    [
        _mm256_permute2f128_ps::<0x20>(low, high),
        _mm256_permute2f128_ps::<0x31>(low, high),
    ]
}

/// # Safety
/// The processor has AVX2.
#[inline(always)]
unsafe fn transpose8(rows: [__m256; 8]) -> [__m256; 8] {
    // Within quarters of 4 x 4, then the quarters themselves.
    let mut quarters = rows;
    for i in [0, 4] {
        let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
        let low = [_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d)];
        let high = [_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d)];
        let [low, other_low] = [_mm256_castps_pd(low[0]), _mm256_castps_pd(low[1])];
        let [high, other_high] = [_mm256_castps_pd(high[0]), _mm256_castps_pd(high[1])];
        quarters[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, other_low));
        quarters[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, other_low));
        quarters[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high, other_high));
        quarters[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high, other_high));
    }
    let mut columns = rows;
    for j in 0..4 {
        columns[j] = _mm256_permute2f128_ps::<0x20>(quarters[j], quarters[4 + j]);
        columns[4 + j] = _mm256_permute2f128_ps::<0x31>(quarters[j], quarters[4 + j]);
    }
    columns
}
