//! The cosines and sines of rotary positions (Su et al., "RoFormer", arXiv 2104.09864), made on the host.
//!
//! `angle(p, i) = p * inv_freq[i]`, with `inv_freq[i] = theta^(-2i / D)` changed by the checkpoint's `rope_type`.
//! The formulas are those of transformers' `modeling_rope_utils.py`, in f64; rounded to f32 where it rounds a
//! result that lasts (the inverse frequencies and the angles), since a model was trained with those.

use std::f64::consts::PI;

use anylora_engine::{Backend, MemoryKind, Result, Tensor};

/// How a checkpoint stretches its positions: `rope_type` and its parameters.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    Default,
    /// `inv_freq / factor`: "position interpolation", arXiv 2306.15595.
    Linear {
        /// `factor`.
        factor: f64,
    },
    /// NTK-aware: theta grows with the sequence, from `max_position_embeddings` on.
    Dynamic {
        /// `factor`.
        factor: f64,
        /// `max_position_embeddings`.
        max_position_embeddings: usize,
    },
    /// By wavelength, as Llama 3.1 does.
    Llama3 {
        /// `factor`.
        factor: f64,
        /// `low_freq_factor`.
        low_freq_factor: f64,
        /// `high_freq_factor`.
        high_freq_factor: f64,
        /// `original_max_position_embeddings`.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al., arXiv 2309.00071).
    Yarn {
        /// `factor`.
        factor: f64,
        /// On cosines and sines: `attention_factor`, or what `mscale` and `factor` make of it.
        attention_factor: f64,
        /// `beta_fast`, 32 by default in the field.
        beta_fast: f64,
        /// `beta_slow`, 1 by default in the field.
        beta_slow: f64,
        /// `original_max_position_embeddings`.
        original_max_position_embeddings: usize,
        /// Whether the range of corrected dimensions is rounded outwards: `truncate`, true by default.
        truncate: bool,
    },
}

/// A model's rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Rotated elements of a head, even.
    pub dim: usize,
    /// `rope_theta`.
    pub theta: f64,
    /// `rope_type`.
    pub scaling: RopeScaling,
}

impl Rope {
    /// The table that kernels read: `[positions, dim]` f32, row p the cosines of its `dim / 2` angles, then the sines.
    ///
    /// `sequence` is the number of tokens that are seen at once first (a training row, a prompt): with dynamic scaling
    /// theta depends on it, and on the position of tokens generated after it.
    ///
    /// # Errors
    /// [`anylora_engine::Error::OutOfMemory`].
    pub fn table<B: Backend>(&self, backend: &B, positions: usize, sequence: usize) -> Result<Tensor<B>> {
        let values = self.values(positions, sequence);
        Tensor::from_f32(backend, &[positions, self.dim], MemoryKind::Weights, &values)
    }

    /// The values of [`Rope::table`], row-major.
    pub fn values(&self, positions: usize, sequence: usize) -> Vec<f32> {
        let half = self.dim / 2;
        let scale = match self.scaling {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        };
        let mut seen = self.effective(sequence.max(1));
        let mut inv_freq = self.inv_freq(seen);
        let mut values = vec![0.0; positions * self.dim];
        for (position, row) in values.chunks_mut(self.dim.max(1)).enumerate() {
            let needs = self.effective(sequence.max(position + 1));
            if needs != seen {
                seen = needs;
                inv_freq = self.inv_freq(seen);
            }
            let (cosines, sines) = row.split_at_mut(half);
            for ((cos, sin), inv_freq) in cosines.iter_mut().zip(sines).zip(&inv_freq) {
                let angle = f64::from(position as f32 * inv_freq);
                *cos = (angle.cos() * scale) as f32;
                *sin = (angle.sin() * scale) as f32;
            }
        }
        values
    }

    /// The sequence length that the frequencies depend on: constant where they don't.
    fn effective(&self, sequence: usize) -> usize {
        match self.scaling {
            RopeScaling::Dynamic {
                max_position_embeddings,
                ..
            } => sequence.max(max_position_embeddings),
            _ => 0,
        }
    }

    /// `[dim / 2]`.
    fn inv_freq(&self, sequence: usize) -> Vec<f32> {
        let plain =
            |theta: f64| (0..self.dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / self.dim as f64));
        let dim = self.dim as f64;
        let inv_freq: Vec<f64> = match &self.scaling {
            RopeScaling::Default => plain(self.theta).collect(),
            RopeScaling::Linear { factor } => plain(self.theta).map(|freq| freq / factor).collect(),
            RopeScaling::Dynamic {
                factor,
                max_position_embeddings,
            } => {
                let grown = factor * sequence as f64 / *max_position_embeddings as f64 - (factor - 1.0);
                plain(self.theta * grown.powf(dim / (dim - 2.0))).collect()
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let original = *original_max_position_embeddings as f64;
                let scaled = |freq: f64| {
                    let wavelength = 2.0 * PI / freq;
                    if wavelength > original / low_freq_factor {
                        return freq / factor;
                    }
                    if wavelength < original / high_freq_factor {
                        return freq;
                    }
                    let smooth =
                        (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * freq / factor + smooth * freq
                };
                plain(self.theta).map(scaled).collect()
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                truncate,
                ..
            } => {
                let original = *original_max_position_embeddings as f64;
                // The dimension that turns this often over the original length.
                let correction =
                    |turns: f64| dim * (original / (turns * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
                let (mut low, mut high) = (correction(*beta_fast), correction(*beta_slow));
                if *truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                (low, high) = (low.max(0.0), high.min(dim - 1.0));
                if low == high {
                    high += 0.001;
                }
                plain(self.theta)
                    .enumerate()
                    .map(|(i, freq)| {
                        let interpolated = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                        freq / factor * interpolated + freq * (1.0 - interpolated)
                    })
                    .collect()
            }
        };
        inv_freq.into_iter().map(|freq| freq as f32).collect()
    }
}

/// YaRN's `attention_factor` where config.json gives none: `0.1 mscale ln(factor) + 1`, and with both `mscale` and
/// `mscale_all_dim` the quotient of the two.
pub fn yarn_attention_factor(factor: f64, mscale: Option<f64>, mscale_all_dim: Option<f64>) -> f64 {
    let scale = |mscale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * mscale * factor.ln() + 1.0
        }
    };
    match (mscale, mscale_all_dim) {
        (Some(mscale), Some(all)) if mscale != 0.0 && all != 0.0 => scale(mscale) / scale(all),
        _ => scale(1.0),
    }
}
