//! Which linear layers adapters go on, by PEFT's rules (`tuners/tuners_utils.py:check_target_module_exists`).

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use anylora_checkpoint::{ModelConfig, TargetModules};
use anylora_nn::Projection;
use regex::Regex;

use crate::{ModelError, Result};

/// The linear layers that adapters go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// By name.
    pub modules: TargetModules,
    /// By block (`layers_to_transform`); all blocks where empty.
    pub layers: Vec<RangeInclusive<usize>>,
}

impl Targets {
    /// These modules in all blocks.
    pub const fn new(modules: TargetModules) -> Self {
        Self {
            modules,
            layers: Vec::new(),
        }
    }

    /// The layers of a model that match, block by block in the order of [`Projection::ALL`].
    ///
    /// # Errors
    /// [`ModelError::Targets`] with every name that matches no module, for a module that can't have an adapter, a
    /// regular expression that is none or matches nothing; [`ModelError::Layers`].
    pub fn resolve(&self, config: &ModelConfig) -> Result<Vec<(usize, Projection)>> {
        let count = config.num_hidden_layers;
        if let Some(range) = self.layers.iter().find(|range| *range.end() >= count) {
            let (first, last) = (*range.start(), *range.end());
            return Err(ModelError::Layers { first, last, count });
        }
        let all = (0..count).flat_map(|layer| Projection::ALL.map(|projection| (layer, projection)));
        let chosen: Vec<_> = match &self.modules {
            TargetModules::AllLinear => all.collect(),
            TargetModules::List(names) => {
                check_names(names, count)?;
                all.filter(|(layer, projection)| {
                    let module = projection.module(*layer);
                    names.iter().any(|name| ends_with(&module, name))
                })
                .collect()
            }
            TargetModules::Regex(pattern) => {
                let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                    ModelError::Targets(format!("{pattern:?} is not a regular expression: {error}"))
                })?;
                refuse_others(|module| regex.is_match(module))?;
                all.filter(|(layer, projection)| regex.is_match(&projection.module(*layer)))
                    .collect()
            }
        };
        let chosen: Vec<_> = chosen
            .into_iter()
            .filter(|(layer, _)| {
                self.layers.is_empty() || self.layers.iter().any(|range| range.contains(layer))
            })
            .collect();
        if chosen.is_empty() {
            let known: Vec<_> = Projection::ALL.map(|projection| projection.module(0)).into();
            let what = format!("no module matches; the first block has {}", known.join(", "));
            return Err(ModelError::Targets(what));
        }
        Ok(chosen)
    }
}

fn ends_with(module: &str, name: &str) -> bool {
    module == name || module.strip_suffix(name).is_some_and(|rest| rest.ends_with('.'))
}

/// Modules that PEFT could adapt and this program can't.
fn refuse_others(matches: impl Fn(&str) -> bool) -> Result<()> {
    match ["lm_head", "model.embed_tokens"]
        .into_iter()
        .find(|module| matches(module))
    {
        None => Ok(()),
        Some(module) => Err(ModelError::Targets(format!(
            "{module} can't have an adapter here, only the linear layers of blocks can"
        ))),
    }
}

/// Every name should match something: one that doesn't is misspelt.
fn check_names(names: &[String], layers: usize) -> Result<()> {
    refuse_others(|module| names.iter().any(|name| ends_with(module, name)))?;
    let modules: Vec<String> = (0..layers)
        .flat_map(|layer| Projection::ALL.map(|projection| projection.module(layer)))
        .collect();
    let unknown: BTreeSet<&str> = names
        .iter()
        .map(String::as_str)
        .filter(|name| !modules.iter().any(|module| ends_with(module, name)))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let known: Vec<&str> = Projection::ALL
        .into_iter()
        .filter_map(|projection| projection.name().rsplit('.').next())
        .collect();
    let unknown: Vec<&str> = unknown.into_iter().collect();
    Err(ModelError::Targets(format!(
        "no module is named {}; the linear layers are {}",
        unknown.join(", "),
        known.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> ModelConfig {
        let json = br#"{"model_type":"llama","hidden_size":8,"intermediate_size":16,"num_hidden_layers":12,
            "num_attention_heads":2}"#;
        ModelConfig::from_json(json).unwrap()
    }

    fn resolve(text: &str) -> Result<Vec<(usize, Projection)>> {
        let modules = text.parse().unwrap_or(TargetModules::AllLinear);
        Targets::new(modules).resolve(&config())
    }

    #[test]
    fn lists_match_suffixes_of_whole_names() {
        let found = resolve("q_proj,v_proj").unwrap();
        assert_eq!(found.len(), 24);
        assert_eq!(found[..2], [(0, Projection::Q), (0, Projection::V)]);
        // As a suffix after a dot only: block 1, and not block 11.
        assert_eq!(resolve("1.mlp.up_proj").unwrap(), [(1, Projection::Up)]);
        assert_eq!(
            resolve("model.layers.3.self_attn.o_proj").unwrap(),
            [(3, Projection::O)]
        );
        assert_eq!(resolve("all-linear").unwrap().len(), 84);
    }

    #[test]
    fn expressions_match_whole_names() {
        assert_eq!(resolve(r".*\.(0|11)\..*(q|k)_proj").unwrap().len(), 4);
        let error = resolve(r"self_attn\.q_proj").unwrap_err().to_string();
        assert!(error.contains("no module matches"), "{error}");
        assert!(
            resolve("(")
                .unwrap_err()
                .to_string()
                .contains("not a regular expression")
        );
    }

    #[test]
    fn layers_limit_and_must_be_there() {
        let mut targets = Targets::new(TargetModules::List(vec!["k_proj".to_owned()]));
        targets.layers = vec![2..=3, 7..=7];
        let layers: Vec<usize> = targets
            .resolve(&config())
            .unwrap()
            .iter()
            .map(|(layer, _)| *layer)
            .collect();
        assert_eq!(layers, [2, 3, 7]);
        targets.layers = vec![10..=12];
        assert!(
            targets
                .resolve(&config())
                .unwrap_err()
                .to_string()
                .contains("layers 0 to 11")
        );
    }

    #[test]
    fn misspelt_and_impossible_names_are_listed() {
        let error = resolve("q_proj,c_attn,qproj").unwrap_err().to_string();
        assert!(
            error.contains("c_attn, qproj") && error.contains("gate_proj"),
            "{error}"
        );
        let error = resolve("q_proj,lm_head").unwrap_err().to_string();
        assert!(error.contains("lm_head can't have an adapter"), "{error}");
        assert!(resolve(".*").unwrap_err().to_string().contains("lm_head"));
    }
}
