//! Loops over exponentials: plain Rust that becomes vectors of whatever width the [`Level`](super::Level) has.
//!
//! Every level gives the same bits: nothing here is a fused multiply-add, and sums have [`LANES`] parts.

use super::{Kernel, LANES, Simd};

/// `e^x` is no normal number below.
const LOWEST: f32 = -87.336_54;
/// Above, the power of two that `e^r` is multiplied with would be infinite.
const HIGHEST: f32 = 88.37;

/// `e^x` within 1e-7 of it, as a fraction; 0 below the smallest normal number, infinite from `e^88.37` on.
///
/// The method and the polynomial are those of Cephes' `expf`: `x = n ln 2 + r`, and `e^r` for `|r| <= ln 2 / 2`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// ln 2 in two parts: n times the first is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// 1.5 * 2^23: what is added to it is rounded to an integer, which stands in its last bits.
    const ROUND: f32 = 12_582_912.0;
    // Written so that NaN stays NaN.
    let clamped = if x < LOWEST { LOWEST } else { x };
    let clamped = if clamped > HIGHEST { HIGHEST } else { clamped };
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = clamped - n * LN_2[0] - n * LN_2[1];
    let mut y = 1.987_569_1e-4;
    for coefficient in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        y = y * r + coefficient;
    }
    let y = y * r * r + r + 1.0;
    let result = y * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    let result = if x < LOWEST { 0.0 } else { result };
    if x > HIGHEST { f32::INFINITY } else { result }
}

/// The largest value.
pub(crate) struct Max<'a>(pub(crate) &'a [f32]);

impl Kernel for Max<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let larger = |a: f32, b: f32| if b > a { b } else { a };
        let (sixteens, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for sixteen in sixteens {
            for i in 0..LANES {
                lanes[i] = larger(lanes[i], sixteen[i]);
            }
        }
        lanes
            .iter()
            .chain(rest)
            .fold(f32::NEG_INFINITY, |max, x| larger(max, *x))
    }
}

/// `values = e^(scale value - shift)`; gives their sum.
pub(crate) struct Exp<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) scale: f32,
    pub(crate) shift: f32,
}

impl Kernel for Exp<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let (sixteens, rest) = self.values.as_chunks_mut::<LANES>();
        let mut lanes = [0.0; LANES];
        for sixteen in sixteens {
            for i in 0..LANES {
                sixteen[i] = exp(self.scale * sixteen[i] - self.shift);
                lanes[i] += sixteen[i];
            }
        }
        let mut sum = 0.0;
        for value in rest {
            *value = exp(self.scale * *value - self.shift);
            sum += *value;
        }
        lanes.iter().sum::<f32>() + sum
    }
}

/// `sum(e^(value - shift))`.
pub(crate) struct SumExp<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) shift: f32,
}

impl Kernel for SumExp<'_> {
    type Output = f32;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        let (sixteens, rest) = self.values.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for sixteen in sixteens {
            for i in 0..LANES {
                lanes[i] += exp(sixteen[i] - self.shift);
            }
        }
        let mut sum = 0.0;
        for value in rest {
            sum += exp(value - self.shift);
        }
        lanes.iter().sum::<f32>() + sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::Level;

    #[test]
    fn exponentials_are_those_of_f64() {
        let mut x = -100.0f32;
        while x < 100.0 {
            let (found, expected) = (exp(x), f64::from(x).exp());
            if x < LOWEST {
                assert_eq!(found, 0.0);
            } else if x > HIGHEST {
                assert_eq!(found, f32::INFINITY);
            } else {
                let off = (f64::from(found) - expected).abs() / expected;
                assert!(off < 1.2e-7, "e^{x}: {found}, off by {off:e}");
            }
            x += 0.000_73;
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn every_level_gives_the_same_bits() {
        for len in [0, 1, 15, 16, 37, 64] {
            let values: Vec<f32> = (0..len).map(|i| (i * 37 % 64) as f32 * 0.11 - 3.0).collect();
            let mut found = Level::all().into_iter().map(|level| {
                let max = level.run(Max(&values));
                let sum = level.run(SumExp {
                    values: &values,
                    shift: max,
                });
                let mut exponentials = values.clone();
                let same = level.run(Exp {
                    values: &mut exponentials,
                    scale: 1.0,
                    shift: max,
                });
                assert_eq!(sum.to_bits(), same.to_bits());
                assert_eq!(max, values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
                (sum.to_bits(), exponentials)
            });
            let first = found.next();
            assert!(found.all(|other| Some(other) == first));
        }
    }
}
