//! Counter-based dropout: the mask is a function of (seed, step, layer, element), so that recomputing a block
//! sees the same mask and no mask is stored.
//!
//! Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), table 2 and section 3.3.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Four random words from a counter and a key: Philox4x32 with ten rounds.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (p1 >> 32) as u32 ^ counter[1] ^ key[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ counter[3] ^ key[1],
            p0 as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// Inverted dropout on a LoRA branch's input: kept elements are scaled by `1 / (1 - p)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The probability of a zero, in `0.0..1.0`.
    pub p: f32,
    /// The run's seed.
    pub seed: u64,
    /// The optimizer step (and micro-batch) that the mask belongs to.
    pub step: u32,
    /// Which LoRA layer it is.
    pub layer: u32,
}

impl Dropout {
    /// An element is dropped when its random word is below this.
    pub fn threshold(&self) -> u32 {
        (f64::from(self.p) * 4_294_967_296.0) as u32
    }

    /// The factor of kept elements.
    pub fn keep_scale(&self) -> f32 {
        1.0 / (1.0 - self.p)
    }

    /// The Philox key: the seed.
    pub const fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// The factor of element `(row, column)` of a matrix: 0 or [`Dropout::keep_scale`].
    ///
    /// The counter is `(row, column / 4, step, layer)` and the word is number `column % 4`.
    pub fn factor(&self, row: u32, column: u32) -> f32 {
        let words = philox4x32([row, column / 4, self.step, self.layer], self.key());
        if words[(column % 4) as usize] < self.threshold() {
            0.0
        } else {
            self.keep_scale()
        }
    }

    /// The mask of a whole matrix, row-major `[rows, columns]`.
    pub fn mask(&self, rows: usize, columns: usize) -> Vec<f32> {
        (0..rows as u32)
            .flat_map(|row| (0..columns as u32).map(move |column| self.factor(row, column)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers of the authors' Random123 distribution (`kat_vectors`, philox4x32 10).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn the_share_of_zeros_is_p() {
        let mask = Dropout {
            p: 0.3,
            seed: 7,
            step: 1,
            layer: 2,
        }
        .mask(200, 101);
        let zeros = mask.iter().filter(|&&factor| factor == 0.0).count() as f32 / mask.len() as f32;
        assert!((zeros - 0.3).abs() < 0.02, "{zeros}");
        assert!(
            mask.iter()
                .all(|&factor| factor == 0.0 || factor == 1.0 / (1.0 - 0.3))
        );
    }
}
