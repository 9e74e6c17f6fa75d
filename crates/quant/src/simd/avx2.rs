//! AVX2: 8 values at a time, the codebook in two registers.

use std::arch::x86_64::*;

use super::{INFINITY_BITS, first_not_finite};
use crate::Codebook;
use crate::codebook::{FP4_BY_MAGNITUDE, FP4_TREE, NF4_TREE};
use crate::quantize::MIN_ABSMAX;

/// See [`super::quantize`].
///
/// # Safety
/// AVX2; values `[n * block]`, packed `[n * block / 2]`, absmax `[n]`, block a multiple of 32.
#[target_feature(enable = "avx2")]
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
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn quantize_with<T: Copy>(
    tables: T,
    encode: impl Fn(T, __m256) -> __m256i,
    block: usize,
    values: &[f32],
    packed: &mut [u8],
    absmax: &mut [f32],
) -> Result<(), usize> {
    let sign_off = _mm256_set1_epi32(i32::MAX);
    for (i, absmax) in absmax.iter_mut().enumerate() {
        // SAFETY: block `i` lies within `values` and `packed` by the caller's promise.
        unsafe {
            let input = values.as_ptr().add(i * block);
            let output = packed.as_mut_ptr().add(i * block / 2);
            let mut max = [_mm256_setzero_si256(); 4];
            for j in (0..block).step_by(32) {
                for (k, max) in max.iter_mut().enumerate() {
                    let v = _mm256_loadu_si256(input.add(j + 8 * k).cast());
                    *max = _mm256_max_epi32(*max, _mm256_and_si256(v, sign_off));
                }
            }
            let max = horizontal_max(max);
            if max >= INFINITY_BITS {
                return Err(i * block + first_not_finite(&values[i * block..(i + 1) * block]));
            }
            *absmax = f32::from_bits(max);
            let scale = _mm256_set1_ps(1.0 / absmax.max(MIN_ABSMAX));
            for j in (0..block).step_by(32) {
                let codes = [0, 8, 16, 24]
                    .map(|k| encode(tables, _mm256_mul_ps(_mm256_loadu_ps(input.add(j + k)), scale)));
                _mm_storeu_si128(output.add(j / 2).cast(), pack(codes));
            }
        }
    }
    Ok(())
}

#[target_feature(enable = "avx2")]
#[inline]
fn horizontal_max([a, b, c, d]: [__m256i; 4]) -> u32 {
    let max = _mm256_max_epi32(_mm256_max_epi32(a, b), _mm256_max_epi32(c, d));
    let max = _mm_max_epi32(_mm256_castsi256_si128(max), _mm256_extracti128_si256::<1>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b_01_00_11_10>(max));
    let max = _mm_max_epi32(max, _mm_shuffle_epi32::<0b_10_11_00_01>(max));
    _mm_cvtsi128_si32(max) as u32
}

/// 32 codes in 32-bit lanes to 16 bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn pack(codes: [__m256i; 4]) -> __m128i {
    // A 64-bit lane holds the even code below the odd one; its low byte becomes both.
    let [a, b, c, d] = codes.map(|codes| {
        let pair = _mm256_or_si256(_mm256_slli_epi64::<4>(codes), _mm256_srli_epi64::<32>(codes));
        _mm256_and_si256(pair, _mm256_set1_epi64x(0xff))
    });
    // Byte k of lane l is byte l of vector k: gather the lanes, then transpose 4 x 4 bytes.
    let ab = _mm256_or_si256(a, _mm256_slli_epi64::<8>(b));
    let cd = _mm256_or_si256(_mm256_slli_epi64::<16>(c), _mm256_slli_epi64::<24>(d));
    let lanes = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    let dwords = _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(_mm256_or_si256(ab, cd), lanes));
    _mm_shuffle_epi8(
        dwords,
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
    )
}

/// `2 * node + (value > tree[node])`, node taken modulo 8.
#[target_feature(enable = "avx2")]
#[inline]
fn descend(node: __m256i, value: __m256, tree: __m256) -> __m256i {
    let above = _mm256_cmp_ps::<_CMP_GT_OQ>(value, _mm256_permutevar8x32_ps(tree, node));
    // A lane that is above is all ones, minus one.
    _mm256_sub_epi32(_mm256_add_epi32(node, node), _mm256_castps_si256(above))
}

#[target_feature(enable = "avx2")]
#[inline]
fn nf4_tables() -> (__m256, __m256) {
    // SAFETY: the table is 16 f32.
    unsafe {
        (
            _mm256_loadu_ps(NF4_TREE.as_ptr()),
            _mm256_loadu_ps(NF4_TREE.as_ptr().add(8)),
        )
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn encode_nf4((inner, leaves): (__m256, __m256), scaled: __m256) -> __m256i {
    let mut node = _mm256_set1_epi32(1);
    for _ in 0..3 {
        node = descend(node, scaled, inner);
    }
    _mm256_and_si256(descend(node, scaled, leaves), _mm256_set1_epi32(15))
}

#[target_feature(enable = "avx2")]
#[inline]
fn fp4_tables() -> (__m256, __m256i) {
    let codes = FP4_BY_MAGNITUDE.map(i32::from);
    // SAFETY: both tables hold 8 lanes.
    unsafe {
        (
            _mm256_loadu_ps(FP4_TREE.as_ptr()),
            _mm256_loadu_si256(codes.as_ptr().cast()),
        )
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn encode_fp4((tree, codes): (__m256, __m256i), scaled: __m256) -> __m256i {
    let magnitude = _mm256_andnot_ps(_mm256_set1_ps(-0.0), scaled);
    let mut node = _mm256_set1_epi32(1);
    for _ in 0..3 {
        node = descend(node, magnitude, tree);
    }
    let negative = _mm256_cmp_ps::<_CMP_LT_OQ>(scaled, _mm256_setzero_ps());
    let sign = _mm256_and_si256(_mm256_castps_si256(negative), _mm256_set1_epi32(8));
    _mm256_or_si256(_mm256_permutevar8x32_epi32(codes, node), sign)
}

/// Values gathered before they are streamed out: the largest block and what was left of the one before.
const TILE: usize = 4096 + 8;

/// See [`super::dequantize`].
///
/// # Safety
/// AVX2; out.len() a multiple of 32, packed at least half as long, absmax one a block of `out`; block a
/// multiple of 32, at most 4096.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn dequantize(
    levels: &[f32; 16],
    block: usize,
    packed: &[u8],
    absmax: &[f32],
    out: &mut [f32],
    streaming: bool,
) {
    let end = out.len();
    let blocks = absmax
        .iter()
        .enumerate()
        .map(|(i, &absmax)| (absmax, i * block, (i * block + block).min(end)));
    let blocks = blocks.filter(|(_, start, end)| start < end);
    if !streaming {
        for (absmax, start, end) in blocks {
            // SAFETY: `start..end` lies within `out`, and half of it within `packed`.
            unsafe {
                dequantize_block(
                    levels,
                    &packed[start / 2..end / 2],
                    absmax,
                    out[start..].as_mut_ptr(),
                )
            };
        }
        return;
    }
    // Non-temporal stores need an aligned address, which `out` may not have: values go through a tile that
    // holds back what does not fill a vector of the output.
    let mut tile = [0.0f32; TILE];
    let mut held = 0;
    let mut written = 0;
    let head = out.as_ptr().align_offset(32).min(8);
    for (absmax, start, end) in blocks {
        // SAFETY: the tile has room for a block beside the fewer than 8 values held, and for 8 at first.
        unsafe {
            dequantize_block(
                levels,
                &packed[start / 2..end / 2],
                absmax,
                tile[held..].as_mut_ptr(),
            );
        }
        let filled = held + end - start;
        let mut read = 0;
        if written == 0 {
            out[..head].copy_from_slice(&tile[..head]);
            (read, written) = (head, head);
        }
        let vectors = (filled - read) / 8;
        for k in 0..vectors {
            // SAFETY: `out` has `end` values, of which those up to `written` are done and `filled - read`
            // follow; `written` is at a multiple of 32 bytes, and the tile holds the values read.
            unsafe {
                let v = _mm256_loadu_ps(tile.as_ptr().add(read + 8 * k));
                _mm256_stream_ps(out.as_mut_ptr().add(written + 8 * k), v);
            }
        }
        written += 8 * vectors;
        tile.copy_within(read + 8 * vectors..filled, 0);
        held = filled - read - 8 * vectors;
    }
    out[written..].copy_from_slice(&tile[..held]);
    // Non-temporal stores are ordered before whatever tells another thread that the output is there.
    _mm_sfence();
}

/// # Safety
/// AVX2; 2 * packed.len() values may be written at `out`; packed.len() is a multiple of 4.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn dequantize_block(levels: &[f32; 16], packed: &[u8], absmax: f32, out: *mut f32) {
    // SAFETY: 16 levels; the caller's promise.
    unsafe {
        // The product is the same whether the level is looked up before or after.
        let absmax = _mm256_set1_ps(absmax);
        let lower = _mm256_mul_ps(_mm256_loadu_ps(levels.as_ptr()), absmax);
        let upper = _mm256_mul_ps(_mm256_loadu_ps(levels.as_ptr().add(8)), absmax);
        for (i, bytes) in packed.as_chunks::<4>().0.iter().enumerate() {
            let bytes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(i32::from_le_bytes(*bytes)));
            // Low 4 bits of each 32-bit lane: the byte's high half, its low half.
            let codes = _mm256_or_si256(_mm256_srli_epi64::<4>(bytes), _mm256_slli_epi64::<32>(bytes));
            // The lookups read 3 bits; the fourth, moved to the sign, picks one of them.
            let pick = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(codes));
            let v = _mm256_blendv_ps(
                _mm256_permutevar8x32_ps(lower, codes),
                _mm256_permutevar8x32_ps(upper, codes),
                pick,
            );
            _mm256_storeu_ps(out.add(8 * i), v);
        }
    }
}
