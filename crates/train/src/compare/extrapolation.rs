//! What the methods take for models that this machine can't run, by plan.

use anylora_engine::{Caps, DType, Tier};
use anylora_models::ModelError;
use serde::Serialize;

use crate::plan::{Plan, plan, shapes};
use crate::run::PeakBytes;
use crate::{Method, TrainConfig, TrainError};

/// LLaMA's sizes, as the QLoRA paper trains them.
const SHAPES: [&str; 4] = ["llama-7b", "llama-13b", "llama-30b", "llama-65b"];

/// A GPU for training, with no limits on buffers.
pub(super) const ANY_GPU: Caps = Caps {
    tier: Tier {
        f16: true,
        bf16: true,
        subgroups: true,
        cooperative_matrix: false,
    },
    ..Caps::HOST
};

/// One model with one method.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Extrapolated {
    /// A name of [`shapes`].
    pub shape: &'static str,
    /// Numbers of the base model.
    pub base_parameters: usize,
    /// The method.
    pub method: Method,
    /// Its name for people.
    pub label: &'static str,
    /// Device memory at its highest, in bytes.
    pub peak_device_bytes: PeakBytes,
}

/// Plans `methods` with the comparison's settings on LLaMA 7B to 65B, base weights stored in 16 bits. Empty where the
/// settings name layers that these models don't have.
///
/// # Errors
/// Those of [`plan`] but for layers that no target matches.
pub fn extrapolate(methods: &[Method], shared: &TrainConfig) -> Result<Vec<Extrapolated>, TrainError> {
    let mut all = Vec::new();
    for shape in SHAPES {
        for &method in methods {
            let plan = match planned(shape, &method.configure(shared)) {
                Ok(Some(plan)) => plan,
                Ok(None) => continue,
                Err(TrainError::Model(ModelError::Targets(_) | ModelError::Layers { .. })) => {
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            };
            all.push(Extrapolated {
                shape,
                base_parameters: plan.base_parameters,
                method,
                label: method.label(),
                peak_device_bytes: plan.peak_device_bytes,
            });
        }
    }
    Ok(all)
}

/// The plan of a named shape on a GPU; None of an unknown name.
pub(super) fn planned(shape: &str, config: &TrainConfig) -> Result<Option<Plan>, TrainError> {
    let Some(model) = shapes::named(shape) else {
        return Ok(None);
    };
    plan(&model, DType::BF16, config, ANY_GPU).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_the_model_and_falls_with_the_method() {
        let config = TrainConfig {
            batch_size: 1,
            max_length: 256,
            ..TrainConfig::default()
        };
        let all = extrapolate(&Method::ALL, &config).unwrap();
        assert_eq!(all.len(), 12);
        for rows in all.chunks(3) {
            let totals: Vec<u64> = rows.iter().map(|row| row.peak_device_bytes.total).collect();
            assert!(totals[0] > totals[1] && totals[1] > totals[2], "{totals:?}");
            let weights = rows[0].peak_device_bytes.by_kind["weights"];
            assert!(weights >= 2 * rows[0].base_parameters as u64, "{weights}");
        }
        let odd = TrainConfig {
            target_modules: anylora_checkpoint::TargetModules::List(vec!["c_attn".to_owned()]),
            ..config
        };
        assert_eq!(extrapolate(&Method::ALL, &odd).unwrap(), []);
    }
}
