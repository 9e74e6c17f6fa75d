//! Attention over sequences, and over the cache of generation.

use super::case::{Case, Suite};
use super::inputs::Inputs;
use crate::ops::AttentionInput;
use crate::{Backend, Mask, Result, ops};

pub(super) async fn run<B: Backend, R: Backend>(suite: &mut Suite<'_, B, R>) {
    let plain = Attention {
        time: 70,
        heads: [2, 2],
        head_dim: 64,
        mask: Mask {
            causal: true,
            window: None,
        },
        segments: false,
    };
    let window = |window| Mask {
        causal: true,
        window: Some(window),
    };
    for case in [
        Attention {
            mask: Mask::default(),
            ..plain
        },
        plain,
        Attention {
            heads: [6, 2],
            head_dim: 40,
            ..plain
        },
        Attention {
            heads: [4, 1],
            time: 33,
            head_dim: 128,
            ..plain
        },
        Attention {
            time: 9,
            heads: [2, 1],
            head_dim: 256,
            ..plain
        },
        Attention {
            time: 9,
            head_dim: 50,
            ..plain
        },
        Attention {
            mask: window(9),
            ..plain
        },
        Attention {
            segments: true,
            ..plain
        },
        Attention {
            mask: window(9),
            segments: true,
            heads: [4, 2],
            ..plain
        },
        Attention { time: 1, ..plain },
    ] {
        suite.check(case).await;
    }
    for (capacity, head_dim, window) in [
        (90, 64, None),
        (90, 64, Some(5)),
        // Long enough to be split among workgroups.
        (1500, 80, None),
        (9, 256, None),
        (9, 50, None),
    ] {
        let case = AttentionDecode {
            capacity,
            head_dim,
            window,
        };
        suite.check(case).await;
    }
    for head_dim in [16, 7] {
        suite.check(CacheAppend { head_dim }).await;
    }
}

#[derive(Clone, Copy)]
struct Attention {
    time: usize,
    /// Of queries, and of keys and values.
    heads: [usize; 2],
    head_dim: usize,
    mask: Mask,
    segments: bool,
}

const BATCH: usize = 2;

impl Case for Attention {
    const OP: &'static str = "attention";

    fn name(&self) -> String {
        let [heads, kv_heads] = self.heads;
        let mut name = format!("T = {}, heads {heads}/{kv_heads} of {}", self.time, self.head_dim);
        if self.mask.causal {
            name.push_str(", causal");
        }
        if let Some(window) = self.mask.window {
            name.push_str(&format!(", window {window}"));
        }
        if self.segments {
            name.push_str(", packed");
        }
        name
    }

    fn terms(&self) -> usize {
        self.time * self.head_dim
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let [heads, kv_heads] = self.heads;
        let q_shape = [BATCH, self.time, heads, self.head_dim];
        let kv_shape = [BATCH, self.time, kv_heads, self.head_dim];
        let (q, dout) = (inputs.act(&q_shape)?, inputs.act(&q_shape)?);
        let (k, v) = (inputs.act(&kv_shape)?, inputs.act(&kv_shape)?);
        // Three sequences in each row; the middle one ends within a tile.
        let segment = |place: usize| (place % self.time * 3 / self.time) as u32;
        let segments: Vec<u32> = (0..BATCH * self.time).map(segment).collect();
        let segments = inputs.words(&[BATCH, self.time], &segments)?;
        let input = AttentionInput {
            q: &q,
            k: &k,
            v: &v,
            segments: self.segments.then_some(&segments),
            mask: self.mask,
            // Sharper than usual, so that the softmax matters.
            scale: 4.0 / (self.head_dim as f32).sqrt(),
        };
        let (out, lse) = ops::attention(&input)?;
        let [dq, dk, dv] = ops::attention_backward(&input, &out, &lse, &dout)?;
        inputs.output("out", out);
        inputs.output("lse", lse);
        if self.time > 1 {
            // Of one key the softmax is constant: both gradients are 0 but for rounding.
            inputs.output("dq", dq);
            inputs.output("dk", dk);
        }
        inputs.output("dv", dv);
        Ok(())
    }
}

struct AttentionDecode {
    capacity: usize,
    head_dim: usize,
    window: Option<usize>,
}

impl Case for AttentionDecode {
    const OP: &'static str = "attention_decode";

    fn name(&self) -> String {
        let Self {
            capacity, head_dim, ..
        } = self;
        let window = self
            .window
            .map_or_else(String::new, |window| format!(", window {window}"));
        format!("S = {capacity}, heads of {head_dim}{window}")
    }

    fn terms(&self) -> usize {
        self.capacity * self.head_dim
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let Self {
            capacity,
            head_dim,
            window,
        } = *self;
        let cache = [3, capacity, 2, head_dim];
        let q = inputs.act(&[3, 6, head_dim])?;
        let (k, v) = (inputs.act(&cache)?, inputs.act(&cache)?);
        let lengths = inputs.words(&[3], &[1, capacity as u32 / 2, capacity as u32])?;
        let out = ops::attention_decode(&q, &k, &v, &lengths, window, 0.5)?;
        inputs.output("out", out);
        Ok(())
    }
}

struct CacheAppend {
    head_dim: usize,
}

impl Case for CacheAppend {
    const OP: &'static str = "cache_append";

    fn name(&self) -> String {
        format!("heads of {}, past the end too", self.head_dim)
    }

    fn terms(&self) -> usize {
        1
    }

    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()> {
        let (new, cache) = ([2, 3, 1, self.head_dim], [2, 8, 1, self.head_dim]);
        let (new, cache) = (inputs.act(&new)?, inputs.act(&cache)?);
        let starts = inputs.words(&[2], &[1, 6])?;
        ops::cache_append(&new, &starts, &cache)?;
        inputs.exact("cache", cache);
        Ok(())
    }
}
