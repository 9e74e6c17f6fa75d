//! How many values share one absmax.

use crate::QuantError;

/// Values a block: a power of two from 32 to 4096, 64 by default, as bitsandbytes allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockSize(u16);

impl BlockSize {
    /// The smallest block.
    pub const MIN: Self = Self(32);
    /// The largest block.
    pub const MAX: Self = Self(4096);

    /// Checks `size`.
    ///
    /// # Errors
    /// [`QuantError::BlockSize`] if `size` is not a power of two from 32 to 4096.
    pub const fn new(size: usize) -> Result<Self, QuantError> {
        if size.is_power_of_two() && size >= 32 && size <= 4096 {
            Ok(Self(size as u16))
        } else {
            Err(QuantError::BlockSize { found: size })
        }
    }

    /// The number of values.
    pub const fn get(self) -> usize {
        self.0 as usize
    }

    /// Blocks in a tensor of `len` values, a short last one included.
    pub const fn blocks(self, len: usize) -> usize {
        len.div_ceil(self.get())
    }
}

impl Default for BlockSize {
    fn default() -> Self {
        Self(64)
    }
}

impl TryFrom<usize> for BlockSize {
    type Error = QuantError;

    fn try_from(size: usize) -> Result<Self, QuantError> {
        Self::new(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_powers_of_two_in_range() {
        for size in [32, 64, 128, 256, 512, 1024, 2048, 4096] {
            assert_eq!(BlockSize::new(size).unwrap().get(), size);
        }
        for size in [0, 1, 16, 33, 48, 96, 4095, 8192, 65536 + 64, usize::MAX] {
            assert_eq!(BlockSize::new(size), Err(QuantError::BlockSize { found: size }));
        }
        assert_eq!(BlockSize::default().get(), 64);
    }
}
