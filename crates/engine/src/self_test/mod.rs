//! Whether a device computes the right numbers: every operation, forward and backward, on small random inputs,
//! against a device that is trusted (the CPU engine).
//!
//! A case is written once, for any backend. It runs on the reference in f32, and on the device in
//! each type of activation that it has: twice, because the same inputs must give the same bits. What both hand
//! over is compared by `max |device - reference| / max |reference|`, a tensor at a time.

mod attention;
mod case;
mod inputs;
mod linear;
mod pointwise;
mod training;

use crate::{Backend, DType};
pub use case::{OutputError, Verdict};

/// What came of one case.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The operation's name in [`crate::ops`].
    pub op: &'static str,
    /// What sets the case apart from the operation's others.
    pub case: String,
    /// The type of activations.
    pub dtype: DType,
    /// How it went.
    pub verdict: Verdict,
}

impl Outcome {
    /// Whether the device computed what the reference did, within the tolerance, and the same bits twice.
    pub fn passed(&self) -> bool {
        match &self.verdict {
            Verdict::Failed(_) => false,
            Verdict::Compared { outputs, repeatable } => {
                *repeatable && outputs.iter().all(OutputError::is_within)
            }
        }
    }
}

/// Runs every case on `device` and on `reference`, and hands over each outcome as soon as it is known. An operation
/// that answers with an error is an outcome too, and the next case runs.
pub async fn self_test<B: Backend, R: Backend>(device: &B, reference: &R, each: &mut dyn FnMut(Outcome)) {
    let mut suite = case::Suite {
        device,
        reference,
        each,
    };
    pointwise::run(&mut suite).await;
    linear::run(&mut suite).await;
    attention::run(&mut suite).await;
    training::run(&mut suite).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_passes_where_all_is_within_and_repeats() {
        let outcome = |error, repeatable| Outcome {
            op: "add",
            case: String::new(),
            dtype: DType::F32,
            verdict: Verdict::Compared {
                outputs: vec![
                    OutputError {
                        name: "a",
                        error: 0.0,
                        tolerance: 0.0,
                    },
                    OutputError {
                        name: "b",
                        error,
                        tolerance: 1e-6,
                    },
                ],
                repeatable,
            },
        };
        assert!(outcome(1e-6, true).passed());
        assert!(!outcome(1.1e-6, true).passed());
        assert!(!outcome(f32::NAN, true).passed());
        assert!(!outcome(0.0, false).passed());
    }
}
