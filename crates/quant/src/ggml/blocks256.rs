//! The formats with blocks of 256 values, whose 8 or 16 groups have scales of few bits under a common f16.

use super::blocks32::IQ4_LEVELS;
use super::f16;

/// `(d * scale) * code - dmin * min` in groups of 16: scales and minima `[16]`, 4 bits each; codes `[64]`; d, dmin.
/// Of each 32 bytes of codes, bits 0-1 are the first 32 values, bits 2-3 the next, and so on.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scales, qs) = (&block[..16], &block[16..80]);
    let (d, dmin) = (f16(block, 80), f16(block, 82));
    for (i, out) in out.iter_mut().enumerate() {
        let scale = scales[i / 16];
        let (dl, ml) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let code = qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3;
        *out = dl * f32::from(code) - ml;
    }
}

/// `(d * (scale - 32)) * code` in groups of 16, codes from -4 to 3: high bits `[32]`, low bits `[64]` as in Q2_K,
/// scales `[12]`, d. Bit `i / 32` of high byte `i % 32` is set where nothing is subtracted.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let (high, qs, scales, d) = (&block[..32], &block[32..96], &block[96..108], f16(block, 108));
    let scale = |group: usize| {
        let low = scales[group % 8] >> (4 * (group / 8)) & 15;
        let high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        d * f32::from((low | high << 4) as i8 - 32)
    };
    let scales: [f32; 16] = std::array::from_fn(scale);
    for (i, out) in out.iter_mut().enumerate() {
        let low = qs[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3;
        let is_high = high[i % 32] >> (i / 32) & 1 == 1;
        let code = low as i8 - if is_high { 0 } else { 4 };
        *out = scales[i / 16] * f32::from(code);
    }
}

/// The 8 scales and minima, 6 bits each, in 12 bytes: the first four whole with the upper bits of the last four
/// above them, then the lower bits of the last four.
fn scales_and_minima(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let six = |at: usize, lower: fn(u8) -> u8, group: usize| match group {
        0..4 => packed[at + group] & 63,
        _ => lower(packed[4 + group]) | (packed[at + group - 4] >> 2 & 48),
    };
    (
        std::array::from_fn(|group| six(0, |byte| byte & 15, group)),
        std::array::from_fn(|group| six(4, |byte| byte >> 4, group)),
    )
}

/// `(d * scale) * code - dmin * min` in groups of 32: d, dmin, scales and minima `[12]`, codes `[128]`. Of each 32
/// bytes of codes the low halves are one group, the high halves the next.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, dmin) = (f16(block, 0), f16(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    let qs = &block[16..];
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (dl, ml) = (d * f32::from(scales[group]), dmin * f32::from(minima[group]));
        for (i, out) in out.iter_mut().enumerate() {
            let code = qs[group / 2 * 32 + i] >> (4 * (group % 2)) & 15;
            *out = dl * f32::from(code) - ml;
        }
    }
}

/// Q4_K with a fifth bit: bit `group` of byte `i` of `[32]`, between scales and codes.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, dmin) = (f16(block, 0), f16(block, 2));
    let (scales, minima) = scales_and_minima(&block[4..16]);
    let (high, qs) = (&block[16..48], &block[48..]);
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (dl, ml) = (d * f32::from(scales[group]), dmin * f32::from(minima[group]));
        for (i, out) in out.iter_mut().enumerate() {
            let low = qs[group / 2 * 32 + i] >> (4 * (group % 2)) & 15;
            let code = low | (high[i] >> group & 1) << 4;
            *out = dl * f32::from(code) - ml;
        }
    }
}

/// `(d * scale) * (code - 32)` in groups of 16: low bits `[128]`, high bits `[64]`, scales i8 `[16]`, d. Of each 64
/// bytes of low bits the low halves are 64 values, the high halves the next 64; high bits lie as in Q2_K.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let (ql, qh, d) = (&block[..128], &block[128..192], f16(block, 208));
    let scales: [f32; 16] = std::array::from_fn(|group| d * f32::from(block[192 + group] as i8));
    for (i, out) in out.iter_mut().enumerate() {
        let low = ql[i / 128 * 64 + i % 64] >> (4 * (i / 64 % 2)) & 15;
        let high = qh[i / 128 * 32 + i % 32] >> (2 * (i / 32 % 4)) & 3;
        *out = scales[i / 16] * f32::from((low | high << 4) as i8 - 32);
    }
}

/// `(d * (scale - 32)) * IQ4_LEVELS[code]` in groups of 32: d, upper scale bits u16, lower ones `[4]`, codes `[128]`
/// with the halves of each 16 bytes as in IQ4_NL.
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let d = f16(block, 0);
    let (scales_high, scales_low) = (u16::from_le_bytes([block[2], block[3]]), &block[4..8]);
    let qs = &block[8..];
    for (group, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = scales_low[group / 2] >> (4 * (group % 2)) & 15;
        let high = (scales_high >> (2 * group) & 3) as u8;
        let dl = d * f32::from((low | high << 4) as i8 - 32);
        for (i, out) in out.iter_mut().enumerate() {
            let code = qs[group * 16 + i % 16] >> (4 * (i / 16)) & 15;
            *out = dl * f32::from(IQ4_LEVELS[usize::from(code)]);
        }
    }
}
