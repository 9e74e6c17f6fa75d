//! A PEFT adapter onto a model's linear layers.

use anylora_checkpoint::{Adapter, ModelConfig};
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
            let [out_features, in_features] = [weights.out_features, weights.in_features];
            if [out_features, in_features] != [n, k] {
                problems.push(TensorProblem {
                    name: module,
                    expected: format!("{k} inputs and {n} outputs"),
                    found: format!("{in_features} and {out_features}"),
                });
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

/// Modules that no linear layer of the model is named like.
fn left_over(config: &ModelConfig, adapter: &Adapter) -> Vec<TensorProblem> {
    let modules: std::collections::BTreeSet<String> = (0..config.num_hidden_layers)
        .flat_map(|layer| Projection::ALL.map(|projection| projection.module(layer)))
        .collect();
    let unknown = adapter.modules.keys().filter(|module| !modules.contains(*module));
    let problem = |module: &String| TensorProblem {
        name: module.clone(),
        expected: format!("a linear layer of a {} model of this config", config.model_type),
        found: "no such module".to_owned(),
    };
    unknown.map(problem).collect()
}
