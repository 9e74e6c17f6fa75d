//! From logits to a token.
//!
//! The settings apply in transformers' order (`generation/utils.py:_get_logits_processor`): repetition penalty,
//! temperature, top-k, top-p, min-p; then one draw from what is left.

use anylora_engine::philox4x32;

use crate::{GenerateError, Result};

/// How a token is picked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by this; 0 picks the likeliest token (greedy).
    pub temperature: f32,
    /// Only the k likeliest tokens; 0 leaves all.
    pub top_k: usize,
    /// Only the likeliest tokens that together reach this probability; 1 leaves all
    /// (Holtzman et al., arXiv 1904.09751).
    pub top_p: f32,
    /// Only tokens at least this likely relative to the likeliest; 0 leaves all (Nguyen et al., arXiv 2407.01082).
    pub min_p: f32,
    /// Logits of tokens that were there before are divided by this where positive and multiplied where negative;
    /// 1 changes nothing (Keskar et al., arXiv 1909.05858).
    pub repetition_penalty: f32,
    /// The same seed draws the same tokens.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            seed: 0,
        }
    }
}

/// Picks tokens, one after another.
#[derive(Clone, Debug)]
pub struct Sampler {
    sampling: Sampling,
    drawn: u32,
    /// `(token, logit)`, then `(token, probability)`; kept to reuse its memory.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler at the start of its seed's sequence.
    ///
    /// # Errors
    /// [`GenerateError::Sampling`] with the first setting that is out of its range.
    pub fn new(sampling: Sampling) -> Result<Self> {
        let Sampling {
            temperature,
            top_p,
            min_p,
            repetition_penalty,
            ..
        } = sampling;
        let checks = [
            ("temperature", temperature, temperature >= 0.0, "0 or more"),
            ("top_p", top_p, top_p > 0.0 && top_p <= 1.0, "above 0, at most 1"),
            ("min_p", min_p, (0.0..=1.0).contains(&min_p), "from 0 to 1"),
            (
                "repetition_penalty",
                repetition_penalty,
                repetition_penalty > 0.0,
                "above 0",
            ),
        ];
        for (name, found, fits, expected) in checks {
            if !fits || !found.is_finite() {
                let found = f64::from(found);
                return Err(GenerateError::Sampling {
                    name,
                    expected,
                    found,
                });
            }
        }
        Ok(Self {
            sampling,
            drawn: 0,
            candidates: Vec::new(),
        })
    }

    /// The next token: logits `[V]` (changed in place), and the tokens so far. None where no logit is a number.
    pub fn pick(&mut self, logits: &mut [f32], before: &[u32]) -> Option<u32> {
        self.penalize(logits, before);
        if self.sampling.temperature == 0.0 {
            return likeliest(logits);
        }
        self.candidates.clear();
        let numbers = (0..)
            .zip(logits.iter().copied())
            .filter(|(_, logit)| !logit.is_nan());
        self.candidates.extend(numbers);
        // Likeliest first; among equals the lower id, so that the order is one and the same everywhere.
        let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let k = self.sampling.top_k;
        if k > 0 && k < self.candidates.len() {
            self.candidates.select_nth_unstable_by(k - 1, order);
            self.candidates.truncate(k);
        }
        let max = self.candidates.iter().map(|(_, logit)| *logit).reduce(f32::max)?;
        for (_, logit) in &mut self.candidates {
            *logit = ((*logit - max) / self.sampling.temperature).exp();
        }
        if self.sampling.top_p < 1.0 {
            self.candidates.sort_unstable_by(order);
            self.cut_top_p();
        }
        // Weights are relative to the likeliest already.
        let min_p = self.sampling.min_p;
        self.candidates.retain(|(_, weight)| *weight >= min_p);
        self.draw()
    }

    fn penalize(&self, logits: &mut [f32], before: &[u32]) {
        let penalty = self.sampling.repetition_penalty;
        if penalty == 1.0 {
            return;
        }
        let mut before = before.to_vec();
        before.sort_unstable();
        before.dedup();
        for token in before {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = if *logit < 0.0 {
                    *logit * penalty
                } else {
                    *logit / penalty
                };
            }
        }
    }

    /// Keeps the shortest run of the likeliest tokens, which come first, whose probabilities sum to at least `top_p`.
    fn cut_top_p(&mut self) {
        let total: f32 = self.candidates.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let enough = self.candidates.iter().position(|(_, weight)| {
            sum += weight;
            sum >= self.sampling.top_p * total
        });
        self.candidates
            .truncate(enough.map_or(self.candidates.len(), |last| last + 1));
    }

    fn draw(&mut self) -> Option<u32> {
        let seed = self.sampling.seed;
        let words = philox4x32([self.drawn, 0, 0, 0], [seed as u32, (seed >> 32) as u32]);
        self.drawn = self.drawn.wrapping_add(1);
        // 53 random bits: below 1.
        let bits = (u64::from(words[0]) << 32 | u64::from(words[1])) >> 11;
        let total: f64 = self.candidates.iter().map(|(_, weight)| f64::from(*weight)).sum();
        let mut left = bits as f64 / (1u64 << 53) as f64 * total;
        for (token, weight) in &self.candidates {
            left -= f64::from(*weight);
            if left < 0.0 {
                return Some(*token);
            }
        }
        self.candidates.last().map(|(token, _)| *token)
    }
}

/// The index of the largest logit, the first among equals.
fn likeliest(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(u32, f32)> = None;
    for (token, &logit) in (0..).zip(logits) {
        if !logit.is_nan() && best.is_none_or(|(_, most)| logit > most) {
            best = Some((token, logit));
        }
    }
    best.map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [1.0, 3.0, 2.0, -1.0, 0.0];

    fn share(sampling: Sampling, before: &[u32]) -> [f32; 5] {
        let mut sampler = Sampler::new(sampling).unwrap();
        let mut counts = [0.0; 5];
        for _ in 0..20_000 {
            counts[sampler.pick(&mut LOGITS.clone(), before).unwrap() as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    fn softmax(logits: &[f32]) -> Vec<f32> {
        let sum: f32 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit.exp() / sum).collect()
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        let mut greedy = Sampler::new(Sampling::default()).unwrap();
        assert_eq!(greedy.pick(&mut [0.5, 2.0, 2.0, f32::NAN], &[]), Some(1));
        assert_eq!(greedy.pick(&mut [f32::NAN; 3], &[]), None);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let sampling = Sampling {
            temperature: 2.0,
            ..Sampling::default()
        };
        let expected = softmax(&LOGITS.map(|logit| logit / 2.0));
        for (found, expected) in share(sampling, &[]).iter().zip(expected) {
            assert!((found - expected).abs() < 0.015, "{found} {expected}");
        }
    }

    #[test]
    fn top_k_top_p_and_min_p_leave_the_likeliest() {
        let one = Sampling {
            temperature: 1.0,
            ..Sampling::default()
        };
        let top_k = share(Sampling { top_k: 2, ..one }, &[]);
        let expected = softmax(&[3.0, 2.0]);
        assert!((top_k[1] - expected[0]).abs() < 0.015 && (top_k[2] - expected[1]).abs() < 0.015);
        // Probabilities 0.64, 0.23, 0.09, ...: two tokens reach 0.8.
        let top_p = share(Sampling { top_p: 0.8, ..one }, &[]);
        assert!(top_p[1] > 0.0 && top_p[2] > 0.0 && top_p[0] + top_p[3] + top_p[4] == 0.0);
        // Relative to the likeliest: 1, 0.37, 0.14, 0.05, 0.02.
        let min_p = share(Sampling { min_p: 0.1, ..one }, &[]);
        assert!(min_p[0] > 0.0 && min_p[3] + min_p[4] == 0.0);
    }

    #[test]
    fn the_penalty_moves_logits_towards_less_likely() {
        let sampling = Sampling {
            repetition_penalty: 2.0,
            ..Sampling::default()
        };
        let mut logits = LOGITS;
        // 3 becomes 1.5, so that 2 wins; -1 becomes -2.
        assert_eq!(
            Sampler::new(sampling).unwrap().pick(&mut logits, &[1, 3, 1]),
            Some(2)
        );
        assert_eq!(logits, [1.0, 1.5, 2.0, -2.0, 0.0]);
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let draw = |seed| {
            let sampling = Sampling {
                temperature: 5.0,
                seed,
                ..Sampling::default()
            };
            let mut sampler = Sampler::new(sampling).unwrap();
            (0..32)
                .map(|_| sampler.pick(&mut LOGITS.clone(), &[]).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let wrong = Sampling {
            top_p: 1.5,
            ..Sampling::default()
        };
        let error = Sampler::new(wrong).unwrap_err().to_string();
        assert_eq!(error, "top_p: expected above 0, at most 1, found 1.5");
    }
}
