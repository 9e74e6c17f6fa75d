//! The formats with blocks of 32 values. Value `j` of the first 16 is in the low half of byte `j`, value `16 + j` in
//! its high half; a fifth bit is bit `i` of a 32-bit word.

use super::f16;

/// The levels of IQ4_NL and IQ4_XS.
pub(super) const IQ4_LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// The 4-bit codes of 16 bytes: the low halves, then the high ones.
fn codes4(qs: &[u8]) -> [u8; 32] {
    std::array::from_fn(|i| if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 })
}

/// [`codes4`] with a fifth bit each.
fn codes5(high: &[u8], qs: &[u8]) -> [u8; 32] {
    let low = codes4(qs);
    std::array::from_fn(|i| low[i] | (high[i / 8] >> (i % 8) & 1) << 4)
}

/// `d * (code - 8)`: d f16, codes `[16]`.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let (d, codes) = (f16(block, 0), codes4(&block[2..]));
    *out = codes.map(|code| d * f32::from(code as i8 - 8));
}

/// `d * code + m`: d, m f16, codes `[16]`.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m, codes) = (f16(block, 0), f16(block, 2), codes4(&block[4..]));
    *out = codes.map(|code| d * f32::from(code) + m);
}

/// `d * (code - 16)`: d f16, fifth bits `[4]`, codes `[16]`.
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let (d, codes) = (f16(block, 0), codes5(&block[2..6], &block[6..]));
    *out = codes.map(|code| d * f32::from(code as i8 - 16));
}

/// `d * code + m`: d, m f16, fifth bits `[4]`, codes `[16]`.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m, codes) = (f16(block, 0), f16(block, 2), codes5(&block[4..8], &block[8..]));
    *out = codes.map(|code| d * f32::from(code) + m);
}

/// `code * d`: d f16, codes i8 `[32]`.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = f16(block, 0);
    for (out, code) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(*code as i8) * d;
    }
}

/// `d * IQ4_LEVELS[code]`: d f16, codes `[16]`.
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let (d, codes) = (f16(block, 0), codes4(&block[2..]));
    *out = codes.map(|code| d * f32::from(IQ4_LEVELS[usize::from(code)]));
}
