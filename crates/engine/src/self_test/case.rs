//! One case on two devices, and how far apart they are.

use super::Outcome;
use super::inputs::{Inputs, Output};
use crate::{Backend, DType, Result};

/// An operation at one shape, written for any backend.
pub(super) trait Case {
    /// The operation's name in [`crate::ops`].
    const OP: &'static str;

    /// What sets it apart.
    fn name(&self) -> String;

    /// Terms of the longest sum.
    fn terms(&self) -> usize;

    /// The types of activations that it may run in.
    fn dtypes(&self) -> &'static [DType] {
        &[DType::F32, DType::F16, DType::BF16]
    }

    /// Makes inputs, calls the operation, hands over what is to be compared.
    fn run<B: Backend>(&self, inputs: &mut Inputs<'_, B>) -> Result<()>;
}

/// How a case went.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The operation, or reading its results, answered with this error.
    Failed(crate::Error),
    /// It gave numbers.
    Compared {
        /// The error of each tensor.
        outputs: Vec<OutputError>,
        /// Whether a second run gave the same bits.
        repeatable: bool,
    },
}

/// How far one tensor is from the reference's.
#[derive(Clone, Debug)]
pub struct OutputError {
    /// Its name in the operation's documentation.
    pub name: &'static str,
    /// `max |device - reference| / max |reference|`; infinite where a value isn't finite, or the sizes differ.
    pub error: f32,
    /// The most that rounding explains; 0 for what only moves data.
    pub tolerance: f32,
}

impl OutputError {
    /// Whether rounding explains it.
    pub fn is_within(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// The two devices, and who is told.
pub(super) struct Suite<'a, B: Backend, R: Backend> {
    pub(super) device: &'a B,
    pub(super) reference: &'a R,
    pub(super) each: &'a mut dyn FnMut(Outcome),
}

impl<B: Backend, R: Backend> Suite<'_, B, R> {
    /// Runs a case in every type of activation that the device has.
    pub(super) async fn check<C: Case>(&mut self, case: C) {
        for &dtype in case.dtypes() {
            if self.device.caps().has_activation(dtype) {
                let verdict = self.compare(&case, dtype).await.unwrap_or_else(Verdict::Failed);
                (self.each)(Outcome {
                    op: C::OP,
                    case: case.name(),
                    dtype,
                    verdict,
                });
            }
        }
    }

    async fn compare<C: Case>(&self, case: &C, dtype: DType) -> Result<Verdict> {
        let device = outputs(self.device, case, dtype, dtype).await?;
        let again = outputs(self.device, case, dtype, dtype).await?;
        // The reference computes in f32, from inputs that the device's type holds.
        let reference = outputs(self.reference, case, DType::F32, dtype).await?;
        let repeatable = device.iter().zip(&again).all(|(a, b)| a.bytes == b.bytes);
        let pairs = device.iter().zip(&reference);
        let outputs = pairs.map(|(device, reference)| OutputError {
            name: device.name,
            error: relative_error(&device.values(), &reference.values()),
            tolerance: if device.exact {
                0.0
            } else {
                tolerance(dtype, case.terms())
            },
        });
        Ok(Verdict::Compared {
            outputs: outputs.collect(),
            repeatable,
        })
    }
}

async fn outputs<B: Backend, C: Case>(
    backend: &B,
    case: &C,
    activation: DType,
    rounding: DType,
) -> Result<Vec<Output>> {
    let mut inputs = Inputs::new(backend, activation, rounding);
    case.run(&mut inputs)?;
    inputs.download().await
}

/// Two f32 sums of n terms in different orders differ by about `sqrt(n)` roundings; an elementary function of WGSL
/// may be off by some tens. Results in f16 or bf16 are rounded to it, and backward starts from such results.
fn tolerance(dtype: DType, terms: usize) -> f32 {
    let sums = DType::F32.unit_roundoff() * (64.0 + 8.0 * (terms as f32).sqrt());
    if dtype == DType::F32 {
        sums
    } else {
        sums + 8.0 * dtype.unit_roundoff()
    }
}

fn relative_error(device: &[f32], reference: &[f32]) -> f32 {
    let finite = device.iter().chain(reference).all(|value| value.is_finite());
    if device.len() != reference.len() || !finite {
        return f32::INFINITY;
    }
    let largest = reference.iter().fold(0f32, |max, value| max.max(value.abs()));
    let differences = device.iter().zip(reference).map(|(a, b)| (a - b).abs());
    let error = differences.fold(0f32, f32::max);
    if error == 0.0 { 0.0 } else { error / largest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest_value() {
        assert_eq!(relative_error(&[1.0, -8.0], &[1.5, -8.0]), 0.0625);
        assert_eq!(relative_error(&[0.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(relative_error(&[0.1], &[0.0]), f32::INFINITY);
        assert_eq!(relative_error(&[f32::NAN], &[1.0]), f32::INFINITY);
        assert_eq!(relative_error(&[1.0], &[f32::NAN]), f32::INFINITY);
        assert_eq!(relative_error(&[1.0], &[1.0, 2.0]), f32::INFINITY);
    }

    #[test]
    fn a_wrong_factor_is_out_of_every_tolerance() {
        for dtype in [DType::F32, DType::F16] {
            assert!(tolerance(dtype, 4096) < 0.01, "{dtype}");
        }
    }
}
