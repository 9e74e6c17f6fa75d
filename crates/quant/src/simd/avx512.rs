//! AVX-512F: 16 values at a time, the codebook in one register.

use std::arch::x86_64::*;

use super::cells::{CELLS_PER_UNIT, FP4_CELLS, NF4_CELLS};
use super::{INFINITY_BITS, first_not_finite};
use crate::Codebook;
use crate::codebook::FP4_BY_MAGNITUDE;
use crate::quantize::MIN_ABSMAX;

/// See [`super::quantize`].
///
/// # Safety
/// AVX-512F; values `[n * block]`, packed `[n * block / 2]`, absmax `[n]`, block a multiple of 32.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn quantize(
    codebook: Codebook,
    block: usize,
    values: &[f32],
    packed: &mut [u8],
    absmax: &mut [f32],
) -> Result<(), usize> {
    // SAFETY: the caller's promise.
    unsafe {
        match codebook {
            Codebook::Nf4 => quantize_with(
                nf4_tables(),
                |t, v| encode_nf4(t, v),
                block,
                values,
                packed,
                absmax,
            ),
            Codebook::Fp4 => quantize_with(
                fp4_tables(),
                |t, v| encode_fp4(t, v),
                block,
                values,
                packed,
                absmax,
            ),
        }
    }
}

/// # Safety
/// As [`quantize`].
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn quantize_with<T: Copy>(
    tables: T,
    encode: impl Fn(T, __m512) -> __m512i,
    block: usize,
    values: &[f32],
    packed: &mut [u8],
    absmax: &mut [f32],
) -> Result<(), usize> {
    let sign_off = _mm512_set1_epi32(i32::MAX);
    for (i, absmax) in absmax.iter_mut().enumerate() {
        // SAFETY: block `i` lies within `values` and `packed` by the caller's promise.
        unsafe {
            let input = values.as_ptr().add(i * block);
            let output = packed.as_mut_ptr().add(i * block / 2);
            let mut max = _mm512_setzero_si512();
            for j in (0..block).step_by(16) {
                let v = _mm512_loadu_si512(input.add(j).cast());
                max = _mm512_max_epi32(max, _mm512_and_si512(v, sign_off));
            }
            let max = _mm512_reduce_max_epi32(max) as u32;
            if max >= INFINITY_BITS {
                return Err(i * block + first_not_finite(&values[i * block..(i + 1) * block]));
            }
            *absmax = f32::from_bits(max);
            let scale = _mm512_set1_ps(1.0 / absmax.max(MIN_ABSMAX));
            for j in (0..block).step_by(16) {
                let codes = encode(tables, _mm512_mul_ps(_mm512_loadu_ps(input.add(j)), scale));
                // A 64-bit lane holds the even code below the odd one; its low byte becomes both.
                let pairs = _mm512_or_si512(_mm512_slli_epi64::<4>(codes), _mm512_srli_epi64::<32>(codes));
                _mm_storel_epi64(output.add(j / 2).cast(), _mm512_cvtepi64_epi8(pairs));
            }
        }
    }
    Ok(())
}

/// Bounds and bases of 32 cells.
type Nf4Tables = ([__m512; 2], [__m512i; 2]);

#[target_feature(enable = "avx512f")]
#[inline]
fn nf4_tables() -> Nf4Tables {
    let (bound, base) = (NF4_CELLS.bound.as_ptr(), NF4_CELLS.base.as_ptr());
    // SAFETY: each table is 32 lanes.
    unsafe {
        (
            [_mm512_loadu_ps(bound), _mm512_loadu_ps(bound.add(16))],
            [
                _mm512_loadu_si512(base.cast()),
                _mm512_loadu_si512(base.add(16).cast()),
            ],
        )
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn encode_nf4((bound, base): Nf4Tables, scaled: __m512) -> __m512i {
    let position = _mm512_fmadd_ps(scaled, _mm512_set1_ps(CELLS_PER_UNIT), _mm512_set1_ps(16.0));
    let cell = _mm512_cvttps_epi32(position);
    let bound = _mm512_permutex2var_ps(bound[0], cell, bound[1]);
    let base = _mm512_permutex2var_epi32(base[0], cell, base[1]);
    add_if_above(base, scaled, bound)
}

/// Bounds and bases of 16 cells, codes by rank.
type Fp4Tables = (__m512, __m512i, __m512i);

#[target_feature(enable = "avx512f")]
#[inline]
fn fp4_tables() -> Fp4Tables {
    let mut codes = [0; 16];
    for (rank, &code) in FP4_BY_MAGNITUDE.iter().enumerate() {
        codes[rank] = i32::from(code);
    }
    // SAFETY: each table is 16 lanes.
    unsafe {
        (
            _mm512_loadu_ps(FP4_CELLS.bound.as_ptr()),
            _mm512_loadu_si512(FP4_CELLS.base.as_ptr().cast()),
            _mm512_loadu_si512(codes.as_ptr().cast()),
        )
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn encode_fp4((bound, base, codes): Fp4Tables, scaled: __m512) -> __m512i {
    let magnitude = _mm512_abs_ps(scaled);
    let cell = _mm512_cvttps_epi32(_mm512_mul_ps(magnitude, _mm512_set1_ps(CELLS_PER_UNIT)));
    let bound = _mm512_permutexvar_ps(cell, bound);
    let rank = add_if_above(_mm512_permutexvar_epi32(cell, base), magnitude, bound);
    let code = _mm512_permutexvar_epi32(rank, codes);
    let negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(scaled, _mm512_setzero_ps());
    _mm512_mask_or_epi32(code, negative, code, _mm512_set1_epi32(8))
}

/// `base + (value > bound)`.
#[target_feature(enable = "avx512f")]
#[inline]
fn add_if_above(base: __m512i, value: __m512, bound: __m512) -> __m512i {
    let above = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(value, bound);
    _mm512_mask_add_epi32(base, above, base, _mm512_set1_epi32(1))
}

/// See [`super::dequantize`].
///
/// # Safety
/// AVX-512F; out.len() a multiple of 32, packed at least half as long, absmax one a block of `out`; block a
/// multiple of 32.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn dequantize(
    levels: &[f32; 16],
    block: usize,
    packed: &[u8],
    absmax: &[f32],
    out: &mut [f32],
    streaming: bool,
) {
    let end = out.len();
    let out = out.as_mut_ptr();
    // SAFETY: the caller's promise; `Shifted` writes what it was pushed, in order, to `out`.
    unsafe {
        if streaming && end > 0 {
            let mut shifted = Shifted::new(out);
            dequantize_with(levels, block, packed, absmax, end, |_, v| shifted.push(v));
            shifted.finish();
        } else {
            dequantize_with(levels, block, packed, absmax, end, |i, v| {
                _mm512_storeu_ps(out.add(i), v)
            });
        }
    }
}

/// Hands 16 values at a time to `store`, with the index of the first.
///
/// # Safety
/// As [`dequantize`], `end` being out.len().
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn dequantize_with(
    levels: &[f32; 16],
    block: usize,
    packed: &[u8],
    absmax: &[f32],
    end: usize,
    mut store: impl FnMut(usize, __m512),
) {
    // SAFETY: 16 levels; every byte read lies below end / 2.
    unsafe {
        let levels = _mm512_loadu_ps(levels.as_ptr());
        for (i, &absmax) in absmax.iter().enumerate() {
            // The product is the same whether the level is looked up before or after.
            let scaled = _mm512_mul_ps(levels, _mm512_set1_ps(absmax));
            let start = i * block;
            for j in (start..(start + block).min(end)).step_by(16) {
                let bytes = _mm512_cvtepu8_epi64(_mm_loadl_epi64(packed.as_ptr().add(j / 2).cast()));
                // The lookup reads the low 4 bits of each 32-bit lane: the byte's high half, its low half.
                let codes = _mm512_or_si512(_mm512_srli_epi64::<4>(bytes), _mm512_slli_epi64::<32>(bytes));
                store(j, _mm512_permutexvar_ps(codes, scaled));
            }
        }
    }
}

/// Writes a run of vectors to an address that is not a multiple of 64 with non-temporal stores, which must
/// be: each store takes the end of one vector and the start of the next.
struct Shifted {
    /// Where the next vector would go if its address were aligned: the first lanes of the pending one.
    next: *mut f32,
    /// Lanes of the pending vector that are already written.
    written: usize,
    lanes: __m512i,
    pending: Option<__m512>,
}

impl Shifted {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new(out: *mut f32) -> Self {
        let written = out.align_offset(64) % 16;
        let lanes = _mm512_add_epi32(
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            _mm512_set1_epi32(written as i32),
        );
        Self {
            next: out,
            written,
            lanes,
            pending: None,
        }
    }

    /// # Safety
    /// AVX-512F; 16 f32 may be written where the last push ended.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn push(&mut self, v: __m512) {
        // SAFETY: all lanes written lie in the 16 of the previous vector and the 16 of this one.
        unsafe {
            if let Some(pending) = self.pending {
                _mm512_stream_ps(self.next, _mm512_permutex2var_ps(pending, self.lanes, v));
                self.next = self.next.add(16);
            } else {
                _mm512_mask_storeu_ps(self.next, (1u16 << self.written).wrapping_sub(1), v);
                self.next = self.next.add(self.written);
            }
        }
        self.pending = Some(v);
    }

    /// # Safety
    /// As the last push.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn finish(self) {
        if let Some(pending) = self.pending {
            let rest = u16::MAX >> self.written;
            // SAFETY: the masked lanes are those of the last vector that are not written yet.
            unsafe {
                _mm512_mask_storeu_ps(self.next, rest, _mm512_permutexvar_ps(self.lanes, pending));
            }
        }
        // Non-temporal stores are ordered before whatever tells another thread that the output is there.
        _mm_sfence();
    }
}
