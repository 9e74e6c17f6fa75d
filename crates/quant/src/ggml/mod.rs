//! llama.cpp's block formats, as GGUF files store weights: their sizes and the way back to f32.
//!
//! A tensor's rows are cut into blocks of 32 values, or of 256 for the K formats and IQ4_XS; a row is whole blocks.
//! Source of the layouts: ggml `ggml-common.h`; of the arithmetic and its order, which the goldens hold to the bit:
//! gguf-py 0.19 `quants.py`.

mod blocks256;
mod blocks32;

use crate::{QuantError, parallel};

/// A block format of llama.cpp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GgmlFormat {
    /// 4 bits, one scale.
    Q4_0,
    /// 4 bits, scale and minimum.
    Q4_1,
    /// 5 bits, one scale.
    Q5_0,
    /// 5 bits, scale and minimum.
    Q5_1,
    /// 8 bits, one scale.
    Q8_0,
    /// 2 bits, 16 scales and minima of 4 bits.
    Q2K,
    /// 3 bits, 16 scales of 6 bits.
    Q3K,
    /// 4 bits, 8 scales and minima of 6 bits.
    Q4K,
    /// 5 bits, 8 scales and minima of 6 bits.
    Q5K,
    /// 6 bits, 16 scales of 8 bits.
    Q6K,
    /// 4 bits into a table of 16 levels, one scale.
    Iq4Nl,
    /// The same with 8 scales of 6 bits.
    Iq4Xs,
}

/// What the file formats know of each: format, name, number in GGUF, values a block, bytes a block.
const FORMATS: [(GgmlFormat, &str, u32, usize, usize); 12] = [
    (GgmlFormat::Q4_0, "Q4_0", 2, 32, 18),
    (GgmlFormat::Q4_1, "Q4_1", 3, 32, 20),
    (GgmlFormat::Q5_0, "Q5_0", 6, 32, 22),
    (GgmlFormat::Q5_1, "Q5_1", 7, 32, 24),
    (GgmlFormat::Q8_0, "Q8_0", 8, 32, 34),
    (GgmlFormat::Q2K, "Q2_K", 10, 256, 84),
    (GgmlFormat::Q3K, "Q3_K", 11, 256, 110),
    (GgmlFormat::Q4K, "Q4_K", 12, 256, 144),
    (GgmlFormat::Q5K, "Q5_K", 13, 256, 176),
    (GgmlFormat::Q6K, "Q6_K", 14, 256, 210),
    (GgmlFormat::Iq4Nl, "IQ4_NL", 20, 32, 18),
    (GgmlFormat::Iq4Xs, "IQ4_XS", 23, 256, 136),
];

impl GgmlFormat {
    /// All formats.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|row| row.0)
    }

    /// The format of GGUF's number for it (`ggml_type`).
    pub fn from_ggml_type(number: u32) -> Option<Self> {
        let row = FORMATS.iter().find(|row| row.2 == number)?;
        Some(row.0)
    }

    fn row(self) -> &'static (Self, &'static str, u32, usize, usize) {
        // The table is in the order of the variants; a test holds it to that.
        &FORMATS[self as usize]
    }

    /// llama.cpp's name, such as `Q4_K`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// GGUF's number for it (`ggml_type`).
    pub fn ggml_type(self) -> u32 {
        self.row().2
    }

    /// Values a block: 32 or 256.
    pub fn block_len(self) -> usize {
        self.row().3
    }

    /// Bytes a block.
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// Bytes of `len` values, which must be whole blocks.
    pub fn bytes_of(self, len: usize) -> Option<usize> {
        if !len.is_multiple_of(self.block_len()) {
            return None;
        }
        (len / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Blocks `[n / block_len * block_bytes]` to out `[n]`, as gguf-py dequantizes them, bit for bit.
    ///
    /// # Errors
    /// [`QuantError::Length`] if `out` is not whole blocks or `blocks` has another number of them.
    pub fn dequantize(self, blocks: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
        let whole = out.len() / self.block_len() * self.block_len();
        if whole != out.len() {
            return Err(QuantError::Length {
                what: "dequantize: out, in whole blocks",
                expected: whole,
                found: out.len(),
            });
        }
        let bytes = out.len() / self.block_len() * self.block_bytes();
        if bytes != blocks.len() {
            return Err(QuantError::Length {
                what: "dequantize: blocks",
                expected: bytes,
                found: blocks.len(),
            });
        }
        let at = |value: usize| value / self.block_len() * self.block_bytes();
        parallel::fill_chunks(out, |start, part| {
            self.fill(&blocks[at(start)..at(start + part.len())], part);
        });
        Ok(())
    }

    /// [`GgmlFormat::dequantize`] on one thread, of lengths that fit.
    fn fill(self, blocks: &[u8], out: &mut [f32]) {
        match self {
            Self::Q4_0 => each(blocks, out, blocks32::q4_0),
            Self::Q4_1 => each(blocks, out, blocks32::q4_1),
            Self::Q5_0 => each(blocks, out, blocks32::q5_0),
            Self::Q5_1 => each(blocks, out, blocks32::q5_1),
            Self::Q8_0 => each(blocks, out, blocks32::q8_0),
            Self::Iq4Nl => each(blocks, out, blocks32::iq4_nl),
            Self::Q2K => each(blocks, out, blocks256::q2_k),
            Self::Q3K => each(blocks, out, blocks256::q3_k),
            Self::Q4K => each(blocks, out, blocks256::q4_k),
            Self::Q5K => each(blocks, out, blocks256::q5_k),
            Self::Q6K => each(blocks, out, blocks256::q6_k),
            Self::Iq4Xs => each(blocks, out, blocks256::iq4_xs),
        }
    }
}

/// Runs `decode` on each block of `BYTES` bytes and its `LEN` values.
fn each<const BYTES: usize, const LEN: usize>(
    blocks: &[u8],
    out: &mut [f32],
    decode: fn(&[u8; BYTES], &mut [f32; LEN]),
) {
    let (blocks, out) = (blocks.as_chunks::<BYTES>().0, out.as_chunks_mut::<LEN>().0);
    for (block, out) in blocks.iter().zip(out) {
        decode(block, out);
    }
}

/// The f16 at byte `at`.
fn f16(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_variants() {
        for (i, format) in GgmlFormat::all().enumerate() {
            assert_eq!(format as usize, i);
            assert_eq!(GgmlFormat::from_ggml_type(format.ggml_type()), Some(format));
            assert_eq!(parallel::CHUNK % format.block_len(), 0);
        }
        assert_eq!(GgmlFormat::from_ggml_type(0), None);
    }

    #[test]
    fn lengths_are_checked() {
        let format = GgmlFormat::Q4K;
        assert_eq!(format.bytes_of(512), Some(288));
        assert_eq!(format.bytes_of(511), None);
        assert!(format.dequantize(&[0; 144], &mut [0.0; 255]).is_err());
        assert!(format.dequantize(&[0; 143], &mut [0.0; 256]).is_err());
        assert!(format.dequantize(&[0; 144], &mut [1.0; 256]).is_ok());
    }
}
