//! What can be wrong with a request to quantize or dequantize.

/// An error of this crate. Indices count elements of the flattened tensor.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantError {
    /// A value to quantize is an infinity or NaN.
    #[error("quantize: element {index} is {value}, expected finite values")]
    NotFinite {
        /// Index of the first such element.
        index: usize,
        /// The element.
        value: f32,
    },
    /// There is nothing to quantize.
    #[error("quantize: the tensor has no elements")]
    Empty,
    /// The block size is not one that the format has.
    #[error("block size: expected a power of two from 32 to 4096, found {found}")]
    BlockSize {
        /// The size asked for.
        found: usize,
    },
    /// A buffer's length does not follow from the tensor's.
    #[error("{what}: expected length {expected}, found {found}")]
    Length {
        /// The buffer.
        what: &'static str,
        /// The length that the tensor's elements and block size give.
        expected: usize,
        /// The length handed in.
        found: usize,
    },
    /// A range reaches past the tensor or ends before it starts.
    #[error("dequantize: range {start}..{end} does not lie within 0..{len}")]
    Range {
        /// First element asked for.
        start: usize,
        /// One past the last element asked for.
        end: usize,
        /// Elements in the tensor.
        len: usize,
    },
    /// The absmax cannot be double quantized: one of them, their f32 sum or a distance to their mean is
    /// not finite.
    #[error("double_quantize: absmax or their sum exceed f32 (mean {mean})")]
    AbsmaxOverflow {
        /// The mean as computed.
        mean: f32,
    },
}
