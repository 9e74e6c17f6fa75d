//! Double quantization: the absmax of a tensor in 8 bits each.
//!
//! ```text
//! offset    = mean(absmax)
//! nested[g] = max |absmax[b] - offset|, b in group g of 256 blocks
//! code[b]   = the dynamic map's level near (absmax[b] - offset) / nested[g]
//! absmax'   = DYNAMIC_MAP_SIGNED[code[b]] * nested[g] + offset
//! ```
//!
//! Source: QLoRA, arXiv 2305.14314, section 3; bitsandbytes `functional.py:quantize_4bit` with
//! `compress_statistics`, and `csrc/cpu_ops.cpp:quantize_cpu_impl`.

use crate::dynamic_map::Encoder;
use crate::{DYNAMIC_MAP_SIGNED, QuantError, torch_mean};

/// Blocks that share one nested absmax.
pub const NESTED_BLOCK: usize = 256;

/// The absmax of a tensor, double quantized.
#[derive(Debug, Clone, PartialEq)]
pub struct DoubleQuantized {
    /// One code into [`DYNAMIC_MAP_SIGNED`] a block, `[blocks]`.
    pub codes: Vec<u8>,
    /// One f32 for each [`NESTED_BLOCK`] blocks, `[ceil(blocks / 256)]`.
    pub nested_absmax: Vec<f32>,
    /// The mean of the absmax.
    pub offset: f32,
}

impl DoubleQuantized {
    /// Double quantizes absmax `[blocks]`.
    ///
    /// Absmax much below the mean may come back negative; bitsandbytes' do too.
    ///
    /// # Errors
    /// [`QuantError::Empty`] without blocks; [`QuantError::AbsmaxOverflow`] if one of them, their f32 sum or
    /// a distance to their mean is not finite.
    pub fn quantize(absmax: &[f32]) -> Result<Self, QuantError> {
        if absmax.is_empty() {
            return Err(QuantError::Empty);
        }
        let offset = torch_mean::mean(absmax);
        let encoder = Encoder::get();
        let mut codes = Vec::with_capacity(absmax.len());
        let mut nested_absmax = Vec::with_capacity(absmax.len().div_ceil(NESTED_BLOCK));
        for group in absmax.chunks(NESTED_BLOCK) {
            // `max` passes over NaN, which shows in the mean.
            let nested = group.iter().fold(0.0f32, |max, a| max.max((a - offset).abs()));
            if !offset.is_finite() || !nested.is_finite() {
                return Err(QuantError::AbsmaxOverflow { mean: offset });
            }
            nested_absmax.push(nested);
            if nested == 0.0 {
                codes.resize(codes.len() + group.len(), 0);
            } else {
                let reciprocal = 1.0 / nested;
                codes.extend(group.iter().map(|a| encoder.encode((a - offset) * reciprocal)));
            }
        }
        Ok(Self {
            codes,
            nested_absmax,
            offset,
        })
    }

    /// The absmax of every block, `[blocks]`.
    ///
    /// # Panics
    /// If `nested_absmax` was made shorter than `codes` need.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut absmax = vec![0.0; self.codes.len()];
        self.dequantize_range(0, &mut absmax);
        absmax
    }

    /// The absmax of blocks `first ..`, as many as `absmax` has room for.
    pub(crate) fn dequantize_range(&self, first: usize, absmax: &mut [f32]) {
        let levels = &DYNAMIC_MAP_SIGNED;
        let codes = &self.codes[first..first + absmax.len()];
        for (i, (absmax, &code)) in absmax.iter_mut().zip(codes).enumerate() {
            let nested = self.nested_absmax[(first + i) / NESTED_BLOCK];
            *absmax = levels[usize::from(code)] * nested + self.offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_absmax_come_back_exactly() {
        let double = DoubleQuantized::quantize(&[0.75; 300]).unwrap();
        assert_eq!(double.nested_absmax, [0.0, 0.0]);
        assert_eq!(double.dequantize(), [0.75; 300]);
    }

    #[test]
    fn refuses_nothing_and_what_f32_cannot_sum() {
        assert_eq!(DoubleQuantized::quantize(&[]), Err(QuantError::Empty));
        let error = DoubleQuantized::quantize(&[3e38; 4]).unwrap_err();
        assert!(matches!(error, QuantError::AbsmaxOverflow { .. }));
        let error = DoubleQuantized::quantize(&[1.0, f32::NAN]).unwrap_err();
        assert!(matches!(error, QuantError::AbsmaxOverflow { .. }));
    }
}
