use anylora_engine::{Backend, DType, Tensor};

use crate::{decode, operand::download};

/// How far a result may lie from the reference.
///
/// Rounding errors are independent and of both signs, so a sum of K products of random terms is off by about
/// `sqrt(K) u` of its size, where u is the unit roundoff of the type it accumulates in, f32; storing the result adds
/// the unit roundoff of its own type (Higham and Mary, "A new approach to probabilistic rounding error analysis",
/// 2019). So, for every element,
///
/// `|found - expected| <= SAFETY * (roundings * u(dtype) + sqrt(terms) * u(f32)) * scale + tiny`
///
/// with `scale` the largest expected magnitude, which is what cancellation leaves errors relative to, and `tiny` the
/// smallest normal number of the type, since a device may flush denormals to zero.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    dtype: DType,
    roundings: f32,
    terms: f32,
    scale: Option<f32>,
}

impl Tolerance {
    /// Both sides round, the reference as well (in f32), and a largest error lies some way above a typical one.
    pub const SAFETY: f32 = 8.0;

    /// For a result stored in `dtype` that each comes from a few operations.
    pub fn of(dtype: DType) -> Self {
        Self {
            dtype,
            roundings: 1.0,
            terms: 1.0,
            scale: None,
        }
    }

    /// For sums of `terms` products: the reduction length. Of several reductions one after the other, their sum.
    pub fn terms(self, terms: usize) -> Self {
        Self {
            terms: terms.max(1) as f32,
            ..self
        }
    }

    /// How often a value is stored in `dtype` on its way, the result itself included.
    pub fn roundings(self, roundings: usize) -> Self {
        Self {
            roundings: roundings as f32,
            ..self
        }
    }

    /// What errors are relative to, where that isn't the largest expected value: say the size of the terms of sums
    /// that cancel.
    pub fn scale(self, scale: f32) -> Self {
        Self {
            scale: Some(scale),
            ..self
        }
    }

    /// The difference that is allowed for every element.
    pub fn allowed(&self, expected: &[f32]) -> f32 {
        let largest = || expected.iter().filter(|value| value.is_finite());
        let scale = self
            .scale
            .unwrap_or_else(|| largest().fold(0.0, |most, value| most.max(value.abs())));
        let unit = self.roundings * self.dtype.unit_roundoff();
        let sums = self.terms.sqrt() * DType::F32.unit_roundoff();
        let tiny = match self.dtype {
            DType::F16 => half::f16::MIN_POSITIVE.to_f32(),
            _ => f32::MIN_POSITIVE,
        };
        Self::SAFETY * (unit + sums) * scale + tiny
    }
}

/// Compares an engine's tensor with the reference's values. NaN and infinity are equal to themselves only.
///
/// # Panics
/// Names the worst place, what was found there, what was expected and what was allowed.
#[track_caller]
pub fn close<B: Backend>(what: &str, found: &Tensor<B>, expected: &[f32], tolerance: Tolerance) {
    let shape = found.shape().to_vec();
    let found = crate::read(found);
    assert_eq!(found.len(), expected.len(), "{what}: elements of {shape:?}");
    let allowed = tolerance.allowed(expected);
    let off = |(found, expected): (&f32, &f32)| match (found.is_finite(), expected.is_finite()) {
        (true, true) => (found - expected).abs(),
        (false, false) if found == expected || (found.is_nan() && expected.is_nan()) => 0.0,
        _ => f32::INFINITY,
    };
    let errors: Vec<f32> = found.iter().zip(expected).map(off).collect();
    let bad = errors.iter().filter(|&&error| error > allowed).count();
    if bad == 0 {
        return;
    }
    let worst = (0..errors.len()).max_by(|&a, &b| errors[a].total_cmp(&errors[b]));
    let worst = worst.expect("there is a bad one");
    panic!(
        "{what}{:?} of {shape:?}: found {:e}, expected {:e}, off by {:e} where {allowed:e} is allowed ({bad} of {} are off)",
        place(worst, &shape),
        found[worst],
        expected[worst],
        errors[worst],
        errors.len(),
    );
}

/// The indices of an element in row-major order.
fn place(mut index: usize, shape: &[usize]) -> Vec<usize> {
    let mut place = vec![0; shape.len()];
    for (place, size) in place.iter_mut().zip(shape).rev() {
        *place = index % size;
        index /= size;
    }
    place
}

/// Runs `operation` twice: both runs give the same bits, and no NaN.
///
/// # Panics
/// Where they don't.
#[track_caller]
pub fn same_bits<B: Backend>(what: &str, operation: impl Fn() -> Vec<Tensor<B>>) {
    let [first, second] = [operation(), operation()];
    assert_eq!(first.len(), second.len(), "{what}");
    for (i, (a, b)) in first.iter().zip(&second).enumerate() {
        let (bytes_a, bytes_b) = (download(a), download(b));
        if !matches!(a.dtype(), DType::U32 | DType::I32 | DType::U8) {
            let values = decode(a.dtype(), &bytes_a);
            assert!(
                !values.iter().any(|value| value.is_nan()),
                "{what}: result {i} has NaN"
            );
        }
        let size = a.dtype().size();
        let differs = bytes_a.iter().zip(&bytes_b).position(|(a, b)| a != b);
        assert_eq!(bytes_a.len(), bytes_b.len(), "{what}: result {i}");
        assert_eq!(
            differs.map(|byte| place(byte / size, a.shape())),
            None,
            "{what}: result {i} differs between two runs from here on"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Operand, cpu};

    fn compare(found: Vec<f32>, expected: &[f32]) -> std::thread::Result<()> {
        let expected = expected.to_vec();
        std::panic::catch_unwind(move || {
            let found = Operand::new([found.len()], DType::F32, found).on(&cpu());
            close("x", &found, &expected, Tolerance::of(DType::F32));
        })
    }

    #[test]
    fn what_is_off_fails_and_what_is_not_passes() {
        let nan = f32::NAN;
        assert!(compare(vec![1.0, 2.0], &[1.0, 2.0 + 1e-6]).is_ok());
        assert!(compare(vec![1.0, 2.0], &[1.0, 2.0 + 1e-5]).is_err());
        assert!(compare(vec![1.0, nan], &[1.0, 2.0]).is_err());
        assert!(compare(vec![1.0, 2.0], &[1.0, nan]).is_err());
        assert!(compare(vec![1.0, f32::INFINITY], &[1.0, 2.0]).is_err());
        assert!(compare(vec![1.0, f32::INFINITY], &[1.0, f32::NEG_INFINITY]).is_err());
        assert!(compare(vec![nan, f32::INFINITY], &[nan, f32::INFINITY]).is_ok());
        assert!(compare(vec![1.0], &[1.0, 1.0]).is_err());
    }

    #[test]
    fn allowed_follows_the_formula() {
        let expected = [3.0, -4.0];
        let u = 2f32.powi(-24);
        assert_eq!(
            Tolerance::of(DType::F32).terms(9).allowed(&expected),
            8.0 * 4.0 * u * 4.0 + f32::MIN_POSITIVE
        );
        let half = Tolerance::of(DType::F16)
            .roundings(2)
            .scale(1.0)
            .allowed(&expected);
        assert!((half - 16.0 * 2f32.powi(-11)).abs() < 1e-4, "{half}");
    }
}
