//! AVX-512F: one register.

#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "each function is an intrinsic or two, under the promise that the trait asks for"
)]

use std::arch::x86_64::*;

use super::{Kernel, LANES, Simd};

#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// # Safety
/// The processor has these features.
#[target_feature(enable = "avx512f,avx2,fma,f16c")]
pub(super) unsafe fn run<K: Kernel>(kernel: K) -> K::Output {
    kernel.run::<Avx512>()
}

impl Simd for Avx512 {
    type F = __m512;
    type I = __m512i;

    // 28 of the 32 registers are sums.
    const TILE_ROWS: usize = 14;
    const TILE_VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn splat(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: __m512) {
        _mm512_storeu_ps(to, x);
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn sum(x: __m512) -> f32 {
        _mm512_reduce_add_ps(x)
    }

    #[inline(always)]
    unsafe fn half(from: *const u8) -> f32 {
        let bits = from.cast::<u16>().read_unaligned();
        _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
    }

    #[inline(always)]
    unsafe fn halves(from: *const u8) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(from.cast()))
    }

    #[inline(always)]
    unsafe fn brains(from: *const u8) -> __m512 {
        let upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(upper))
    }

    #[inline(always)]
    unsafe fn bytes(from: *const u8) -> __m512i {
        _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))
    }

    #[inline(always)]
    unsafe fn signed_bytes(from: *const u8) -> __m512i {
        _mm512_cvtepi8_epi32(_mm_loadu_si128(from.cast()))
    }

    #[inline(always)]
    unsafe fn shift_right(x: __m512i, count: u32) -> __m512i {
        _mm512_srl_epi32(x, _mm_cvtsi32_si128(count as i32))
    }

    #[inline(always)]
    unsafe fn shift_left(x: __m512i, count: u32) -> __m512i {
        _mm512_sll_epi32(x, _mm_cvtsi32_si128(count as i32))
    }

    #[inline(always)]
    unsafe fn and(x: __m512i, mask: i32) -> __m512i {
        _mm512_and_si512(x, _mm512_set1_epi32(mask))
    }

    #[inline(always)]
    unsafe fn or(a: __m512i, b: __m512i) -> __m512i {
        _mm512_or_si512(a, b)
    }

    #[inline(always)]
    unsafe fn where_set(bits: u16, value: i32) -> __m512i {
        _mm512_maskz_set1_epi32(bits, value)
    }

    #[inline(always)]
    unsafe fn float(x: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(x)
    }

    #[inline(always)]
    unsafe fn lookup(table: __m512, x: __m512i) -> __m512 {
        _mm512_permutexvar_ps(x, table)
    }

    #[inline(always)]
    unsafe fn interleave(a: __m512, b: __m512) -> [__m512; 2] {
        let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        let second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
        [
            _mm512_permutex2var_ps(a, first, b),
            _mm512_permutex2var_ps(a, second, b),
        ]
    }

    #[inline(always)]
    unsafe fn transpose(rows: [__m512; LANES]) -> [__m512; LANES] {
        // Within quarters of 4 x 4, then the quarters themselves.
        let mut quarters = rows;
        for i in (0..LANES).step_by(4) {
            let [a, b, c, d] = [rows[i], rows[i + 1], rows[i + 2], rows[i + 3]];
            let low = [_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d)];
            let high = [_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d)];
            let [low, other_low] = [_mm512_castps_pd(low[0]), _mm512_castps_pd(low[1])];
            let [high, other_high] = [_mm512_castps_pd(high[0]), _mm512_castps_pd(high[1])];
            quarters[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, other_low));
            quarters[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, other_low));
            quarters[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high, other_high));
            quarters[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high, other_high));
        }
        let mut columns = rows;
        for j in 0..4 {
            let [a, b, c, d] = [quarters[j], quarters[4 + j], quarters[8 + j], quarters[12 + j]];
            let even = [
                _mm512_shuffle_f32x4::<0x88>(a, b),
                _mm512_shuffle_f32x4::<0x88>(c, d),
            ];
            let odd = [
                _mm512_shuffle_f32x4::<0xdd>(a, b),
                _mm512_shuffle_f32x4::<0xdd>(c, d),
            ];
            columns[j] = _mm512_shuffle_f32x4::<0x88>(even[0], even[1]);
            columns[4 + j] = _mm512_shuffle_f32x4::<0x88>(odd[0], odd[1]);
            columns[8 + j] = _mm512_shuffle_f32x4::<0xdd>(even[0], even[1]);
            columns[12 + j] = _mm512_shuffle_f32x4::<0xdd>(odd[0], odd[1]);
        }
        columns
    }
}
