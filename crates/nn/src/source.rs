//! Where the frozen weights of blocks come from.

use anylora_engine::{Backend, Result};

use crate::Block;

/// Gives one block at a time. Its weights need to be on the device only while the caller holds the block, so that a
/// source may keep all of them there, or bring each from host memory when asked.
pub trait BlockSource<B: Backend> {
    /// How many blocks there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Block `index`, without adapters.
    ///
    /// # Errors
    /// [`anylora_engine::Error::Argument`] where there is no such block; device errors.
    fn block(&self, index: usize) -> Result<Block<B>>;

    /// Says that `index` comes next, so that a source that streams may begin to bring it; one past the last is no error.
    /// Does nothing by default.
    fn prefetch(&self, _index: usize) {}
}

/// All blocks on the device.
pub struct Resident<B: Backend> {
    blocks: Vec<Block<B>>,
}

impl<B: Backend> Resident<B> {
    /// These blocks, in order.
    pub const fn new(blocks: Vec<Block<B>>) -> Self {
        Self { blocks }
    }
}

impl<B: Backend> BlockSource<B> for Resident<B> {
    fn len(&self) -> usize {
        self.blocks.len()
    }

    fn block(&self, index: usize) -> Result<Block<B>> {
        let count = self.blocks.len();
        self.blocks
            .get(index)
            .cloned()
            .ok_or_else(|| anylora_engine::Error::Argument {
                op: "block",
                what: format!("block {index} of {count}"),
            })
    }
}
