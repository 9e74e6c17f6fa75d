//! The order of an epoch: the same for a seed and an epoch, on every machine and in every version.
//!
//! A resumed run relies on it, so the generator is written out here: SplitMix64 (Steele, Lea and Flood, 2014)
//! under a Fisher-Yates shuffle.

/// A small generator of random integers.
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    /// The generator of a place in a run. Different places have unrelated sequences.
    pub(super) fn at(seed: u64, epoch: u64, place: u64) -> Self {
        let mut state = Self(seed);
        for part in [epoch, place] {
            state = Self(state.next() ^ part);
        }
        state
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// An integer below `bound`, by multiplication with the upper half kept.
    fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// Puts `items` into random order.
    pub(super) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// Record numbers 0 to `count` in the order of `epoch`; the file's order without a seed.
pub(super) fn epoch_order(count: usize, seed: Option<u64>, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    if let Some(seed) = seed {
        SplitMix64::at(seed, epoch, 0).shuffle(&mut order);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix64_gives_its_published_sequence() {
        // The first outputs for seed 1234567, as in the reference implementation's test.
        let mut generator = SplitMix64(1_234_567);
        let found = [generator.next(), generator.next(), generator.next()];
        assert_eq!(
            found,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn every_epoch_is_a_permutation_of_its_own() {
        let sorted = epoch_order(1000, None, 3);
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        let (first, second) = (epoch_order(1000, Some(7), 0), epoch_order(1000, Some(7), 1));
        assert_eq!(first, epoch_order(1000, Some(7), 0));
        assert_ne!(first, second);
        for mut order in [first, second, epoch_order(1000, Some(8), 0)] {
            assert_ne!(order, sorted);
            order.sort_unstable();
            assert_eq!(order, sorted);
        }
    }
}
