//! Quantization, of a whole tensor at once and of one that comes in chunks.
//!
//! bitsandbytes' CPU path (`backends/default/ops.py:quantize_4bit`) scales a full block by a reciprocal,
//! `x * (1 / max(absmax, 1e-38))`, and a short last block by a division, `x / max(absmax, 1e-38)`, whose
//! absmax it also stores no smaller than 1e-38. The last bits differ, so both are kept here. A block whose
//! absmax is below 1e-38 keeps its absmax and loses precision: its values scale to less than 1.

use crate::parallel::{self, QuantizeTask};
use crate::simd::{self, Isa};
use crate::{Absmax, BlockSize, Codebook, QuantError, Quantized4};

/// The least divisor. Denormal; its reciprocal is finite.
pub(crate) const MIN_ABSMAX: f32 = 1e-38;

/// Quantizes a tensor: values `[n]`, flattened row-major, become packed codes `[ceil(n / 2)]` and absmax
/// `[ceil(n / block_size)]` in f32. See [`Quantized4::double_quantize`] for 8-bit absmax.
///
/// # Errors
/// [`QuantError::Empty`] if `values` is empty; [`QuantError::NotFinite`] with the index of the first
/// infinity or NaN.
pub fn quantize(values: &[f32], codebook: Codebook, block_size: BlockSize) -> Result<Quantized4, QuantError> {
    let mut quantizer = Quantizer::with_capacity(codebook, block_size, values.len());
    quantizer.push(values)?;
    quantizer.finish()
}

/// Quantizes a tensor whose values arrive in chunks of any sizes, for tensors too large to hold in f32.
///
/// Holds the codes and absmax so far and less than one block of values. The result is that of
/// [`quantize`] on the concatenated chunks, bit for bit.
///
/// ```
/// use anylora_quant::{BlockSize, Codebook, Quantizer, quantize};
///
/// let mut quantizer = Quantizer::new(Codebook::Nf4, BlockSize::default());
/// quantizer.push(&[0.5; 100])?;
/// quantizer.push(&[-0.25; 7])?;
/// let whole = [vec![0.5; 100], vec![-0.25; 7]].concat();
/// assert_eq!(quantizer.finish()?, quantize(&whole, Codebook::Nf4, BlockSize::default())?);
/// # Ok::<(), anylora_quant::QuantError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Quantizer {
    codebook: Codebook,
    block_size: BlockSize,
    /// Whole blocks done: the parts of `packed` and `absmax` that count. What follows is room.
    blocks: usize,
    packed: Vec<u8>,
    absmax: Vec<f32>,
    /// Values that do not fill a block yet, fewer than `block_size`.
    pending: Vec<f32>,
}

impl Quantizer {
    /// A quantizer with nothing in it.
    pub fn new(codebook: Codebook, block_size: BlockSize) -> Self {
        Self::with_capacity(codebook, block_size, 0)
    }

    /// A quantizer with room for `len` values.
    pub fn with_capacity(codebook: Codebook, block_size: BlockSize, len: usize) -> Self {
        // Zeros and not capacity: they come from the system untouched, and the threads write them first.
        let packed = vec![0; len.div_ceil(2)];
        let absmax = vec![0.0; block_size.blocks(len)];
        Self {
            codebook,
            block_size,
            blocks: 0,
            packed,
            absmax,
            pending: Vec::new(),
        }
    }

    /// Values pushed so far.
    pub fn len(&self) -> usize {
        self.blocks * self.block_size.get() + self.pending.len()
    }

    /// Whether no value was pushed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Quantizes the next `values` `[any length]`.
    ///
    /// # Errors
    /// [`QuantError::NotFinite`] with the index, in the whole tensor, of the first infinity or NaN in
    /// `values`. The quantizer is then as it was before the call.
    pub fn push(&mut self, values: &[f32]) -> Result<(), QuantError> {
        let (blocks, pending) = (self.blocks, self.pending.len());
        let result = self.push_unless_refused(values);
        if result.is_err() {
            self.blocks = blocks;
            self.pending.truncate(pending);
        }
        result
    }

    /// [`Quantizer::push`]; an error leaves values behind the ones that were there, which stay in place.
    fn push_unless_refused(&mut self, values: &[f32]) -> Result<(), QuantError> {
        let block = self.block_size.get();
        let missing = if self.pending.is_empty() {
            0
        } else {
            block - self.pending.len()
        };
        let (completing, rest) = values.split_at(missing.min(values.len()));
        check_finite(completing, self.len())?;
        self.pending.extend_from_slice(completing);
        if self.pending.len() == block {
            let pending = std::mem::take(&mut self.pending);
            let result = self.push_blocks(&pending);
            self.pending = pending;
            result?;
        }
        let (blocks, tail) = rest.split_at(rest.len() / block * block);
        self.push_blocks(blocks)?;
        check_finite(tail, self.blocks * block)?;
        // Nothing is refused from here on. A pending block that was completed is done now; if one was not,
        // there is no tail.
        if self.pending.len() == block {
            self.pending.clear();
        }
        self.pending.extend_from_slice(tail);
        Ok(())
    }

    /// Quantizes what is left, the short last block, and returns the tensor.
    ///
    /// # Errors
    /// [`QuantError::Empty`] if no value was pushed.
    pub fn finish(mut self) -> Result<Quantized4, QuantError> {
        let len = self.len();
        if len == 0 {
            return Err(QuantError::Empty);
        }
        self.packed.truncate(self.blocks * self.block_size.get() / 2);
        self.absmax.truncate(self.blocks);
        if !self.pending.is_empty() {
            let absmax = self.pending.iter().fold(MIN_ABSMAX, |max, v| max.max(v.abs()));
            self.absmax.push(absmax);
            let code = |v: f32| self.codebook.encode(v / absmax);
            // The unused half of a last byte holds the code of zero.
            let pairs = self
                .pending
                .chunks(2)
                .map(|pair| (pair[0], pair.get(1).copied().unwrap_or(0.0)));
            self.packed
                .extend(pairs.map(|(even, odd)| code(even) << 4 | code(odd)));
        }
        Ok(Quantized4 {
            codebook: self.codebook,
            block_size: self.block_size,
            len,
            packed: self.packed,
            absmax: Absmax::F32(self.absmax),
        })
    }

    /// Quantizes whole blocks, values `[n * block_size]`.
    fn push_blocks(&mut self, values: &[f32]) -> Result<(), QuantError> {
        let (block, codebook, isa) = (self.block_size.get(), self.codebook, Isa::detect());
        let (first, end) = (self.blocks, self.blocks + values.len() / block);
        if self.absmax.len() < end {
            self.absmax.resize(end, 0.0);
        }
        if self.packed.len() < end * block / 2 {
            self.packed.resize(end * block / 2, 0);
        }
        parallel::quantize_chunks(
            values,
            block,
            &mut self.packed[first * block / 2..end * block / 2],
            &mut self.absmax[first..end],
            |QuantizeTask {
                 start,
                 values,
                 packed,
                 absmax,
             }| {
                simd::quantize(isa, codebook, block, values, packed, absmax).map_err(|i| {
                    QuantError::NotFinite {
                        index: first * block + start + i,
                        value: values[i],
                    }
                })
            },
        )?;
        self.blocks = end;
        Ok(())
    }
}

/// Refuses an infinity or NaN among values `[n]` that follow `before` others.
fn check_finite(values: &[f32], before: usize) -> Result<(), QuantError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(QuantError::NotFinite {
            index: before + i,
            value: values[i],
        }),
        None => Ok(()),
    }
}
