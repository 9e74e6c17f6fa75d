//! A PEFT adapter onto a model's linear layers.

use anylora_checkpoint::{Adapter, LoraWeights, ModelConfig};
use anylora_engine::Backend;
use anylora_nn::{Adapters, LoraAdapter, Projection};

use crate::layout::shape;
use crate::{ModelError, Result, TensorProblem};

/// Puts an adapter's matrices on the device, for inference; `trained` adds gradient buffers.
///
/// # Errors
/// [`ModelError::Adapter`] with every module that the model doesn't have or whose matrices don't fit it, or where the
/// adapter has no module at all; device errors.
pub fn adapters<B: Backend>(
    backend: &B,
    config: &ModelConfig,
    adapter: &Adapter,
    trained: bool,
) -> Result<Adapters<B>> {
    let mut adapters = Adapters::new(config.num_hidden_layers);
    let mut known = 0;
    let mut problems = Vec::new();
    for layer in 0..config.num_hidden_layers {
        for projection in Projection::ALL {
            let module = projection.module(layer);
            let Some(weights) = adapter.modules.get(&module) else {
                continue;
            };
            known += 1;
            let [n, k] = shape(config, projection);
            let wrong = misfits(&module, weights, [n, k]);
            if !wrong.is_empty() {
                problems.extend(wrong);
                continue;
            }
            let scale = adapter.config.scaling(&module) as f32;
            let matrices = (weights.a.as_slice(), weights.b.as_slice());
            let lora = LoraAdapter::new(backend, [weights.r, n, k], matrices, scale, trained)?;
            adapters.block_mut(layer).set(projection, lora);
        }
    }
    if known < adapter.modules.len() {
        problems.extend(left_over(config, adapter));
    }
    if !problems.is_empty() || known == 0 {
        return Err(ModelError::Adapter(problems));
    }
    Ok(adapters)
}

/// The matrices of a module that don't fit its layer `[N, K]`, by the names that they have in PEFT's files.
fn misfits(module: &str, weights: &LoraWeights, [n, k]: [usize; 2]) -> Vec<TensorProblem> {
    let LoraWeights {
        r,
        in_features,
        out_features,
        ..
    } = *weights;
    let parts = [
        ("lora_A", [r, k], [r, in_features]),
        ("lora_B", [n, r], [out_features, r]),
    ];
    let wrong = parts.into_iter().filter(|(_, expected, found)| expected != found);
    wrong
        .map(|(part, expected, found)| TensorProblem {
            name: format!("base_model.model.{module}.{part}.weight"),
            expected: format!("{expected:?}"),
            found: format!("{found:?}"),
        })
        .collect()
}

/// Modules that no linear layer of the model is named like.
fn left_over(config: &ModelConfig, adapter: &Adapter) -> Vec<TensorProblem> {
    let modules: std::collections::BTreeSet<String> = (0..config.num_hidden_layers)
        .flat_map(|layer| Projection::ALL.map(|projection| projection.module(layer)))
        .collect();
    let unknown = adapter.modules.keys().filter(|module| !modules.contains(*module));
    let problem = |module: &String| TensorProblem {
        name: format!("base_model.model.{module}.lora_A.weight"),
        expected: format!("a linear layer of a {} model of this config", config.model_type),
        found: "no such module".to_owned(),
    };
    unknown.map(problem).collect()
}
