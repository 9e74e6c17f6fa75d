//! The trained matrices as a PEFT adapter, and the way back.

use std::collections::BTreeMap;

use anylora_checkpoint::{Adapter, AdapterConfig, LoraWeights, TargetModules};
use anylora_engine::Side;

use crate::parameters::Target;
use crate::{TrainConfig, TrainError};

/// The adapter of `targets`, whose A and B are `values`, in their order.
pub fn to_adapter(config: &TrainConfig, targets: &[Target], values: &[[Vec<f32>; 2]]) -> Adapter {
    let modules = targets.iter().zip(values).map(|(target, [a, b])| {
        let weights = LoraWeights {
            r: target.rank,
            in_features: target.in_features,
            out_features: target.out_features,
            a: a.clone(),
            b: b.clone(),
        };
        (target.module.clone(), weights)
    });
    Adapter::new(adapter_config(config, targets), modules.collect())
}

/// What PEFT needs to find the same layers again.
fn adapter_config(config: &TrainConfig, targets: &[Target]) -> AdapterConfig {
    let modules = match &config.target_modules {
        // PEFT resolves `all-linear` by the model's classes: names mean the same everywhere.
        TargetModules::AllLinear => {
            let last = |target: &Target| target.module.rsplit('.').next().map(str::to_owned);
            let mut names: Vec<String> = Vec::new();
            for name in targets.iter().filter_map(last) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
            TargetModules::List(names)
        }
        written => written.clone(),
    };
    AdapterConfig {
        lora_dropout: f64::from(config.dropout),
        use_rslora: config.rslora,
        layers_to_transform: config.layer_range().ok().flatten().map(|range| range.collect()),
        base_model_name_or_path: config.model.clone(),
        ..AdapterConfig::new(config.rank, f64::from(config.alpha), modules)
    }
}

/// An adapter to start from: its rank, scaling and targets become the run's.
///
/// # Errors
/// [`TrainError::Adapter`] for adapters whose layers have ranks or scales of their own.
pub fn adopt(config: &mut TrainConfig, adapter: &Adapter) -> Result<(), TrainError> {
    let own = |what: &str| {
        Err(TrainError::Adapter(format!(
            "{what}: training has one for all layers"
        )))
    };
    if adapter.config.rank_pattern.entries().next().is_some() {
        return own("`rank_pattern` gives layers ranks of their own");
    }
    if adapter.config.alpha_pattern.entries().next().is_some() {
        return own("`alpha_pattern` gives layers scales of their own");
    }
    config.rank = adapter.config.r;
    config.alpha = adapter.config.lora_alpha as f32;
    config.rslora = adapter.config.use_rslora;
    config.layers = None;
    // The layers that it really has, by name: whatever its config says, these are trained.
    let names = adapter.modules.keys().map(|name| regex::escape(name));
    config.target_modules = TargetModules::Regex(names.collect::<Vec<_>>().join("|"));
    Ok(())
}

/// The values of one matrix; empty where the adapter has none.
pub fn values(adapter: &Adapter, target: &Target, side: Side) -> Vec<f32> {
    let weights = adapter.modules.get(&target.module);
    weights.map_or_else(Vec::new, |weights| match side {
        Side::A => weights.a.clone(),
        Side::B => weights.b.clone(),
    })
}

/// Compares the adapter's matrices with the model's layers.
///
/// # Errors
/// [`TrainError::Adapter`] with every matrix that doesn't fit.
pub fn check(adapter: &Adapter, targets: &[Target]) -> Result<(), TrainError> {
    let targets: BTreeMap<&str, &Target> = targets
        .iter()
        .map(|target| (target.module.as_str(), target))
        .collect();
    let mut problems = Vec::new();
    for (module, weights) in &adapter.modules {
        match targets.get(module.as_str()) {
            None => problems.push(format!("{module} is no linear layer of this model")),
            Some(target) => {
                let (found, expected) = (
                    [weights.out_features, weights.in_features],
                    [target.out_features, target.in_features],
                );
                if found != expected {
                    problems.push(format!(
                        "{module} is {expected:?} and the adapter was made for {found:?}"
                    ));
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(TrainError::Adapter(problems.join("; ")))
    }
}
