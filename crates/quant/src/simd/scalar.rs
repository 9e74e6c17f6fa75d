//! The reference loops, which every other level must equal.

use super::{INFINITY_BITS, first_not_finite};
use crate::Codebook;
use crate::quantize::MIN_ABSMAX;

/// See [`super::quantize`].
pub(super) fn quantize(
    codebook: Codebook,
    block: usize,
    values: &[f32],
    packed: &mut [u8],
    absmax: &mut [f32],
) -> Result<(), usize> {
    let blocks = values
        .chunks_exact(block)
        .zip(packed.chunks_exact_mut(block / 2))
        .zip(absmax);
    for (i, ((values, packed), absmax)) in blocks.enumerate() {
        // The order of finite f32 without sign is that of their bits; infinity and NaN are above.
        let max = values.iter().fold(0, |max: u32, v| max.max(v.abs().to_bits()));
        if max >= INFINITY_BITS {
            return Err(i * block + first_not_finite(values));
        }
        *absmax = f32::from_bits(max);
        let scale = 1.0 / absmax.max(MIN_ABSMAX);
        for (packed, [even, odd]) in packed.iter_mut().zip(values.as_chunks::<2>().0) {
            *packed = codebook.encode(even * scale) << 4 | codebook.encode(odd * scale);
        }
    }
    Ok(())
}

/// Elements `start ..`, `start` even, of what [`super::dequantize`] dequantizes.
pub(super) fn dequantize(
    levels: &[f32; 16],
    block: usize,
    packed: &[u8],
    absmax: &[f32],
    start: usize,
    out: &mut [f32],
) {
    let pairs = packed[start / 2..].iter().zip(out.chunks_mut(2));
    for (i, (&byte, pair)) in pairs.enumerate() {
        let absmax = absmax[(start + 2 * i) / block];
        for (out, code) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *out = levels[usize::from(code)] * absmax;
        }
    }
}
