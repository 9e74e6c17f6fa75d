//! The LoRA adapters of a whole model, by block and linear layer.

use anylora_engine::{Backend, Dropout};

use crate::{LoraAdapter, Projection};

/// The adapters of one block. A clone is the same memory.
pub struct BlockAdapters<B: Backend>([Option<LoraAdapter<B>>; 7]);

impl<B: Backend> Default for BlockAdapters<B> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| None))
    }
}

impl<B: Backend> Clone for BlockAdapters<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B: Backend> BlockAdapters<B> {
    /// The adapter on one linear layer.
    pub const fn get(&self, projection: Projection) -> Option<&LoraAdapter<B>> {
        self.0[projection as usize].as_ref()
    }

    /// Puts an adapter on a linear layer, in place of the one that was there.
    pub fn set(&mut self, projection: Projection, adapter: LoraAdapter<B>) {
        self.0[projection as usize] = Some(adapter);
    }
}

/// The adapters of a model. A clone is the same memory.
pub struct Adapters<B: Backend> {
    blocks: Vec<BlockAdapters<B>>,
}

impl<B: Backend> Clone for Adapters<B> {
    fn clone(&self) -> Self {
        Self {
            blocks: self.blocks.clone(),
        }
    }
}

impl<B: Backend> Adapters<B> {
    /// No adapter yet on any of `blocks` blocks.
    pub fn new(blocks: usize) -> Self {
        Self {
            blocks: (0..blocks).map(|_| BlockAdapters::default()).collect(),
        }
    }

    /// The adapters of one block.
    ///
    /// # Panics
    /// If the model has no such block.
    pub fn block(&self, index: usize) -> &BlockAdapters<B> {
        &self.blocks[index]
    }

    /// The adapters of one block, to be changed.
    ///
    /// # Panics
    /// If the model has no such block.
    pub fn block_mut(&mut self, index: usize) -> &mut BlockAdapters<B> {
        &mut self.blocks[index]
    }

    /// All adapters, block by block in the order of [`Projection::ALL`]: the order that optimizer state, checkpoints
    /// and gradient norms use.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Projection, &LoraAdapter<B>)> {
        self.blocks.iter().enumerate().flat_map(|(layer, block)| {
            Projection::ALL
                .into_iter()
                .filter_map(move |projection| Some((layer, projection, block.get(projection)?)))
        })
    }

    /// How many linear layers have an adapter.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether no linear layer has one.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Trained parameters.
    pub fn parameters(&self) -> usize {
        self.iter().map(|(_, _, adapter)| adapter.parameters()).sum()
    }

    /// The same matrices with every adapter's scale multiplied by `factor`: 0 turns them off, 1 changes nothing.
    #[must_use]
    pub fn scaled(&self, factor: f32) -> Self {
        let mut scaled = self.clone();
        let all = scaled.blocks.iter_mut().flat_map(|block| &mut block.0);
        for adapter in all.flatten() {
            adapter.scale *= factor;
        }
        scaled
    }

    /// Sets the dropout of every adapter for one micro-batch: probability `p`, the run's seed, and a step that differs
    /// between micro-batches. Each linear layer gets a mask of its own; `p` 0 turns dropout off.
    pub fn set_dropout(&mut self, p: f32, seed: u64, step: u32) {
        let count = Projection::ALL.len();
        for (layer, block) in self.blocks.iter_mut().enumerate() {
            for (slot, adapter) in block.0.iter_mut().enumerate() {
                if let Some(adapter) = adapter {
                    adapter.dropout = (p > 0.0).then_some(Dropout {
                        p,
                        seed,
                        step,
                        layer: (layer * count + slot) as u32,
                    });
                }
            }
        }
    }
}
