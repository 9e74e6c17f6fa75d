//! The two 4-bit codebooks and the rule that picks a code.
//!
//! NF4 (QLoRA, arXiv 2305.14314, section 3 and appendix E) has its levels at quantiles of N(0, 1),
//! scaled to [-1, 1]; it is sorted, so a code is the number of midpoints below the value.
//! FP4 is bitsandbytes' `sign, 2 exponent bits, 1 mantissa bit` table (`functional.py:get_4bit_type`),
//! in bit-pattern order; its rule is that of bitsandbytes' `dQuantizeFP4`: seven thresholds on the
//! magnitude, then the sign bit.

/// Which sixteen levels a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codebook {
    /// 4-bit NormalFloat, for weights that are about normal: the one to use.
    Nf4,
    /// bitsandbytes' 4-bit float. Its codes 0 and 8 are both zero; as there, 8 is given to small negative
    /// values, so that quantizing what was dequantized turns it into 0.
    Fp4,
}

/// The f32 values that bitsandbytes lists (there with 16 digits; these are the same bits).
const NF4: [f32; 16] = [
    -1.0,
    -0.6961928,
    -0.52507305,
    -0.3949175,
    -0.28444138,
    -0.18477343,
    -0.091050036,
    0.0,
    0.0795803,
    0.1609302,
    0.2461123,
    0.33791524,
    0.44070983,
    0.562617,
    0.72295684,
    1.0,
];

/// {0, 0.0625, 8, 12, 4, 6, 2, 3} / 12, then the same negated. Code 8 is plus zero, as in the map that
/// bitsandbytes stores in checkpoints.
const FP4: [f32; 16] = {
    let magnitude = [0.0f32, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0];
    let mut levels = [0.0; 16];
    let mut code = 0;
    while code < 8 {
        levels[code] = magnitude[code] / 12.0;
        levels[code + 8] = 0.0 - levels[code];
        code += 1;
    }
    levels
};

/// The midpoints of neighbouring NF4 levels, in f32, as a search tree: the root at index 1, the children
/// of node `i` at `2i` and `2i + 1`; index 0 is unused. Four steps `i = 2i + (x > TREE[i])` from 1 end at
/// `16 + code`; a value equal to a midpoint takes the lower code.
pub(crate) const NF4_TREE: [f32; 16] = {
    let mut tree = [0.0; 16];
    let mut node = 1;
    while node < 16 {
        let depth = usize::ilog2(node);
        // Node `node` is the k-th of its depth, and splits 16 >> depth codes in two.
        let k = node - (1 << depth);
        let upper = (2 * k + 1) * (8 >> depth);
        tree[node] = (NF4[upper - 1] + NF4[upper]) / 2.0;
        node += 1;
    }
    tree
};

/// The thresholds of `dQuantizeFP4` on the magnitude, as a tree like [`NF4_TREE`] of three steps: its
/// digits are bitsandbytes' own, which are not all the nearest f32 to the midpoint.
pub(crate) const FP4_TREE: [f32; 8] = [
    0.0, 0.29166667, 0.0859375, 0.583333, 0.00260417, 0.20833333, 0.4166667, 0.8333333,
];

/// FP4 codes in order of their magnitude.
pub(crate) const FP4_BY_MAGNITUDE: [u8; 8] = [0, 1, 6, 7, 4, 5, 2, 3];

impl Codebook {
    /// The value of each code, `[16]`; within [-1, 1].
    pub const fn levels(self) -> &'static [f32; 16] {
        match self {
            Self::Nf4 => &NF4,
            Self::Fp4 => &FP4,
        }
    }

    /// The name in checkpoints and configs: `nf4` or `fp4`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nf4 => "nf4",
            Self::Fp4 => "fp4",
        }
    }

    /// The code of a value that is already divided by its block's absmax.
    #[inline(always)]
    pub(crate) fn encode(self, scaled: f32) -> u8 {
        match self {
            Self::Nf4 => {
                let mut node = 1;
                for _ in 0..4 {
                    node = 2 * node + usize::from(scaled > NF4_TREE[node & 15]);
                }
                (node & 15) as u8
            }
            Self::Fp4 => {
                let mut node = 1;
                for _ in 0..3 {
                    node = 2 * node + usize::from(scaled.abs() > FP4_TREE[node & 7]);
                }
                FP4_BY_MAGNITUDE[node & 7] | (u8::from(scaled < 0.0) << 3)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_encodes_to_its_code() {
        for (code, &level) in NF4.iter().enumerate() {
            assert_eq!(usize::from(Codebook::Nf4.encode(level)), code);
        }
        for (code, &level) in FP4.iter().enumerate() {
            assert_eq!(
                usize::from(Codebook::Fp4.encode(level)),
                if code == 8 { 0 } else { code }
            );
        }
    }

    #[test]
    fn a_value_on_a_bound_takes_the_lower_nf4_code() {
        for code in 0..15u8 {
            let bound = (NF4[usize::from(code)] + NF4[usize::from(code) + 1]) / 2.0;
            assert_eq!(Codebook::Nf4.encode(bound), code);
            assert_eq!(Codebook::Nf4.encode(bound.next_up()), code + 1);
        }
    }

    #[test]
    fn fp4_follows_bitsandbytes_thresholds() {
        let steps = [
            (0.00260417f32, 0, 1),
            (0.0859375, 1, 6),
            (0.20833333, 6, 7),
            (0.29166667, 7, 4),
            (0.4166667, 4, 5),
            (0.583333, 5, 2),
            (0.8333333, 2, 3),
        ];
        for (threshold, at, above) in steps {
            assert_eq!(Codebook::Fp4.encode(threshold), at);
            assert_eq!(Codebook::Fp4.encode(threshold.next_up()), above);
            assert_eq!(Codebook::Fp4.encode(-threshold), at + 8);
            assert_eq!(Codebook::Fp4.encode((-threshold).next_down()), above + 8);
        }
    }
}
