//! The inner loops at the level that the processor has. Every level gives the bits of [`scalar`].
//!
//! The one module of this crate with `unsafe`: `std::arch` loads and stores, and calls of functions compiled
//! for a detected feature. The functions here check the lengths that those loops rely on.

use crate::Codebook;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod cells;
mod scalar;

/// Outputs of at least this size are written past the caches (non-temporal stores): they would not stay
/// there anyway, and a store that reads its cache line first costs half of the bandwidth.
pub(crate) const STREAMING_BYTES: usize = 16 << 20;

/// An instruction set that the loops are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The widest that this processor runs; the detection is cached by the standard library.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
        }
        Self::Scalar
    }
}

/// Quantizes whole blocks: values `[n * block]` to packed `[n * block / 2]` and absmax `[n]`.
/// The error is the index of the first value that is not finite; the outputs are then unspecified.
pub(crate) fn quantize(
    isa: Isa,
    codebook: Codebook,
    block: usize,
    values: &[f32],
    packed: &mut [u8],
    absmax: &mut [f32],
) -> Result<(), usize> {
    assert!(block.is_multiple_of(32) && values.len() == absmax.len() * block);
    assert!(packed.len() * 2 == values.len());
    match isa {
        Isa::Scalar => scalar::quantize(codebook, block, values, packed, absmax),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX2; the lengths are checked above.
        Isa::Avx2 => unsafe { avx2::quantize(codebook, block, values, packed, absmax) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX-512F; the lengths are checked above.
        Isa::Avx512 => unsafe { avx512::quantize(codebook, block, values, packed, absmax) },
    }
}

/// Dequantizes from the start of a block: packed `[ceil(n / 2)]` and absmax `[ceil(n / block)]` to out `[n]`.
/// `streaming` only chooses how memory is written.
pub(crate) fn dequantize(
    isa: Isa,
    codebook: Codebook,
    block: usize,
    packed: &[u8],
    absmax: &[f32],
    out: &mut [f32],
    streaming: bool,
) {
    assert!(block.is_multiple_of(32) && block <= 4096 && absmax.len() == out.len().div_ceil(block));
    assert!(packed.len() == out.len().div_ceil(2));
    let levels = codebook.levels();
    // What is left of the last 32 values goes to the scalar loop.
    let main = out.len() / 32 * 32;
    let (main_out, tail_out) = out.split_at_mut(main);
    match isa {
        Isa::Scalar => {
            // Portable code has no say in how it writes.
            let _ = streaming;
            scalar::dequantize(levels, block, packed, absmax, 0, main_out);
        }
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX2; the lengths are checked above and the output's is a multiple of 32.
        Isa::Avx2 => unsafe { avx2::dequantize(levels, block, packed, absmax, main_out, streaming) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` found AVX-512F; the lengths are checked above and the output's is a multiple of 32.
        Isa::Avx512 => unsafe { avx512::dequantize(levels, block, packed, absmax, main_out, streaming) },
    }
    scalar::dequantize(levels, block, packed, absmax, main, tail_out);
}

/// The bits of an f32 without its sign are below these just if it is finite, so one maximum checks a block.
const INFINITY_BITS: u32 = f32::INFINITY.to_bits();

/// The first value that is not finite; called only when there is one.
fn first_not_finite(values: &[f32]) -> usize {
    values.iter().position(|v| !v.is_finite()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
