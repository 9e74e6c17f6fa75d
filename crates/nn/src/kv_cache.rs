//! What generation keeps of the tokens so far: keys (rotated) and values of every block.

use anylora_engine::{Backend, DType, Error, MemoryKind, Result, Tensor, ops};

/// The keys and values of `batch` sequences of at most `capacity` tokens.
pub struct KvCache<B: Backend> {
    layers: Vec<[Tensor<B>; 2]>,
    lengths: Vec<usize>,
    capacity: usize,
}

/// Where a pass writes into the cache.
pub enum CacheStep<B: Backend> {
    /// The first tokens of all sequences.
    Prefill {
        /// `[B]` u32: zeros.
        starts: Tensor<B>,
    },
    /// One more token of each sequence.
    Decode {
        /// `[B]` u32: cached tokens before this one.
        starts: Tensor<B>,
        /// `[B]` u32: cached tokens with this one.
        lengths: Tensor<B>,
    },
}

impl<B: Backend> CacheStep<B> {
    /// `[B]` u32: the row of the cache that takes the first new token.
    pub const fn starts(&self) -> &Tensor<B> {
        match self {
            Self::Prefill { starts } | Self::Decode { starts, .. } => starts,
        }
    }
}

impl<B: Backend> KvCache<B> {
    /// An empty cache for `layers` blocks: two tensors `[batch, capacity, kv_heads, head_dim]` of the activations'
    /// type each.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn new(
        backend: &B,
        layers: usize,
        [batch, capacity, kv_heads, head_dim]: [usize; 4],
        dtype: DType,
    ) -> Result<Self> {
        let shape = [batch, capacity, kv_heads, head_dim];
        let cache = || {
            let cache = Tensor::empty(backend, &shape, dtype, MemoryKind::Activations)?;
            // Kernels may load rows that they then leave out; they should hold numbers.
            ops::fill(&cache, 0.0)?;
            Ok::<_, Error>(cache)
        };
        Ok(Self {
            layers: (0..layers)
                .map(|_| Ok([cache()?, cache()?]))
                .collect::<Result<_>>()?,
            lengths: vec![0; batch],
            capacity,
        })
    }

    /// The keys and values of one block.
    ///
    /// # Panics
    /// If the cache has no such layer.
    pub fn layer(&self, index: usize) -> &[Tensor<B>; 2] {
        &self.layers[index]
    }

    /// Tokens that each sequence has cached.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// Tokens that a sequence can have at most.
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.lengths.fill(0);
    }

    /// Forgets the tokens of sequence `index` from `length` on.
    ///
    /// # Panics
    /// If there is no such sequence.
    pub fn truncate(&mut self, index: usize, length: usize) {
        self.lengths[index] = self.lengths[index].min(length);
    }

    /// Makes room for the next tokens: `counts[b]` of sequence b, which are all of them where the cache is empty
    /// (shorter prompts are padded at their end), and one each later. Returns each sequence's first new position.
    ///
    /// # Errors
    /// [`Error::Argument`] where the counts don't fit that, or the cache is full.
    pub fn advance(&mut self, backend: &B, counts: &[usize]) -> Result<(Vec<usize>, CacheStep<B>)> {
        let error = |what| Err(Error::Argument { op: "kv_cache", what });
        if counts.len() != self.lengths.len() {
            return error(format!(
                "{} sequences, found {}",
                self.lengths.len(),
                counts.len()
            ));
        }
        let starts = self.lengths.clone();
        let ends: Vec<usize> = starts
            .iter()
            .zip(counts)
            .map(|(start, count)| start + count)
            .collect();
        if let Some(end) = ends.iter().find(|&&end| end > self.capacity) {
            return error(format!(
                "{end} tokens do not fit into a cache of {}",
                self.capacity
            ));
        }
        let upload = |values: &[usize]| {
            let values: Vec<u32> = values.iter().map(|&value| value as u32).collect();
            Tensor::from_u32(backend, &[values.len()], MemoryKind::Activations, &values)
        };
        let step = if counts.iter().all(|&count| count == 1) {
            CacheStep::Decode {
                starts: upload(&starts)?,
                lengths: upload(&ends)?,
            }
        } else if starts.iter().all(|&start| start == 0) {
            CacheStep::Prefill {
                starts: upload(&starts)?,
            }
        } else {
            return error("a cache that holds tokens takes one more token a sequence".to_owned());
        };
        self.lengths = ends;
        Ok((starts, step))
    }
}
