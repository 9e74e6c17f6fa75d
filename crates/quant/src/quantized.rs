//! A quantized tensor and the way back to f32.

use std::borrow::Cow;
use std::ops::Range;

use crate::simd::{self, Isa};
use crate::{BlockSize, Codebook, DoubleQuantized, NESTED_BLOCK, QuantError, parallel};

/// A tensor in 4-bit codes.
///
/// Lengths follow from `len` and `block_size`; [`Quantized4::new_from_parts`] checks them. Methods panic on a
/// value whose fields were set to lengths that disagree, except those that return an error for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantized4 {
    /// What the codes stand for.
    pub codebook: Codebook,
    /// Values that share one absmax.
    pub block_size: BlockSize,
    /// Elements of the flattened tensor.
    pub len: usize,
    /// Two codes a byte, `[ceil(len / 2)]`: element `2i` in the high half, `2i + 1` in the low one.
    pub packed: Vec<u8>,
    /// The scale of each block.
    pub absmax: Absmax,
}

/// The scale of each block of a tensor, `[ceil(len / block_size)]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Absmax {
    /// As measured.
    F32(Vec<f32>),
    /// In 8 bits each.
    Double(DoubleQuantized),
}

/// Absmax dequantized at a time on the stack.
const ABSMAX_TILE: usize = 256;

impl Quantized4 {
    /// A tensor from its stored parts: packed `[ceil(len / 2)]` and the absmax of ceil(len / block_size)
    /// blocks. A checkpoint whose stored 8-bit map is not [`crate::DYNAMIC_MAP_SIGNED`] must hand in its
    /// absmax as f32.
    ///
    /// # Errors
    /// [`QuantError::Length`] naming the first part whose length does not fit.
    pub fn new_from_parts(
        codebook: Codebook,
        block_size: BlockSize,
        len: usize,
        packed: Vec<u8>,
        absmax: Absmax,
    ) -> Result<Self, QuantError> {
        let quantized = Self {
            codebook,
            block_size,
            len,
            packed,
            absmax,
        };
        quantized.check()?;
        Ok(quantized)
    }

    /// Blocks in the tensor, a short last one included.
    pub fn blocks(&self) -> usize {
        self.block_size.blocks(self.len)
    }

    /// Bytes of the codes and absmax, with the nested absmax and the offset; not those of the levels and of
    /// the dynamic map, which all tensors share.
    pub fn size_bytes(&self) -> usize {
        self.packed.len()
            + match &self.absmax {
                Absmax::F32(absmax) => size_of_val(absmax.as_slice()),
                Absmax::Double(double) => {
                    double.codes.len()
                        + size_of_val(double.nested_absmax.as_slice())
                        + size_of_val(&double.offset)
                }
            }
    }

    /// The same codes with their absmax double quantized. Does nothing to a tensor that already is.
    ///
    /// # Errors
    /// Those of [`DoubleQuantized::quantize`].
    pub fn double_quantize(self) -> Result<Self, QuantError> {
        let absmax = match self.absmax {
            Absmax::F32(absmax) => Absmax::Double(DoubleQuantized::quantize(&absmax)?),
            double => double,
        };
        Ok(Self { absmax, ..self })
    }

    /// The scale of every block in f32, `[blocks]`.
    pub fn absmax_f32(&self) -> Cow<'_, [f32]> {
        match &self.absmax {
            Absmax::F32(absmax) => Cow::Borrowed(absmax),
            Absmax::Double(double) => Cow::Owned(double.dequantize()),
        }
    }

    /// The tensor in f32, `[len]`.
    pub fn dequantize(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.len];
        self.fill(0, &mut out);
        out
    }

    /// Writes the tensor to out `[len]`.
    ///
    /// # Errors
    /// [`QuantError::Length`] if `out` or a part of the tensor has another length.
    pub fn dequantize_into(&self, out: &mut [f32]) -> Result<(), QuantError> {
        check_length("dequantize: out", self.len, out.len())?;
        self.dequantize_range(0..self.len, out)
    }

    /// Writes elements `range` to out `[range.len()]`. The range may start and end within a block and within
    /// a byte.
    ///
    /// # Errors
    /// [`QuantError::Range`] if the range does not lie in the tensor; [`QuantError::Length`] if `out` or a
    /// part of the tensor has another length.
    pub fn dequantize_range(&self, range: Range<usize>, out: &mut [f32]) -> Result<(), QuantError> {
        let Range { start, end } = range;
        if start > end || end > self.len {
            return Err(QuantError::Range {
                start,
                end,
                len: self.len,
            });
        }
        check_length("dequantize: out", end - start, out.len())?;
        self.check()?;
        self.fill(start, out);
        Ok(())
    }

    fn check(&self) -> Result<(), QuantError> {
        check_length("packed", self.len.div_ceil(2), self.packed.len())?;
        match &self.absmax {
            Absmax::F32(absmax) => check_length("absmax", self.blocks(), absmax.len()),
            Absmax::Double(double) => {
                check_length("absmax codes", self.blocks(), double.codes.len())?;
                check_length(
                    "nested_absmax",
                    self.blocks().div_ceil(NESTED_BLOCK),
                    double.nested_absmax.len(),
                )
            }
        }
    }

    /// Elements `start ..` to out, which does not reach past the tensor.
    fn fill(&self, start: usize, out: &mut [f32]) {
        let (block, isa) = (self.block_size.get(), Isa::detect());
        let streaming = size_of_val(out) >= simd::STREAMING_BYTES;
        // Up to the first whole block in order, the rest in parallel.
        let head = (start.next_multiple_of(block) - start).min(out.len());
        let (head, body) = out.split_at_mut(head);
        self.fill_partial_block(start, head);
        let first = start + head.len();
        parallel::fill_chunks(body, |offset, part| {
            self.fill_blocks(isa, streaming, first + offset, part)
        });
    }

    /// Elements `start ..` to out, all within one block.
    fn fill_partial_block(&self, start: usize, out: &mut [f32]) {
        if out.is_empty() {
            return;
        }
        let block = start / self.block_size.get();
        let mut absmax = [0.0];
        let absmax = self.absmax_tile(block, &mut absmax)[0];
        let levels = self.codebook.levels();
        for (i, out) in (start..).zip(out) {
            let shift = if i % 2 == 0 { 4 } else { 0 };
            *out = levels[usize::from(self.packed[i / 2] >> shift & 15)] * absmax;
        }
    }

    /// Elements `start ..` to out, from the start of a block.
    fn fill_blocks(&self, isa: Isa, streaming: bool, start: usize, out: &mut [f32]) {
        let block = self.block_size.get();
        let mut tile = [0.0; ABSMAX_TILE];
        for (i, out) in out.chunks_mut(ABSMAX_TILE * block).enumerate() {
            let start = start + i * ABSMAX_TILE * block;
            let absmax = self.absmax_tile(start / block, &mut tile[..out.len().div_ceil(block)]);
            let packed = &self.packed[start / 2..(start + out.len()).div_ceil(2)];
            simd::dequantize(isa, self.codebook, block, packed, absmax, out, streaming);
        }
    }

    /// The absmax of blocks `first ..`, as many as `tile` holds; in `tile` if they must be computed.
    fn absmax_tile<'a>(&'a self, first: usize, tile: &'a mut [f32]) -> &'a [f32] {
        match &self.absmax {
            Absmax::F32(absmax) => &absmax[first..first + tile.len()],
            Absmax::Double(double) => {
                double.dequantize_range(first, tile);
                tile
            }
        }
    }
}

fn check_length(what: &'static str, expected: usize, found: usize) -> Result<(), QuantError> {
    if expected == found {
        Ok(())
    } else {
        Err(QuantError::Length {
            what,
            expected,
            found,
        })
    }
}
