//! The tensors of an adapter: `base_model.model.MODULE.lora_A.weight` `[r, in]` and `lora_B.weight` `[out, r]`.

use std::collections::{BTreeMap, BTreeSet};

use super::config::AdapterConfig;
use crate::safetensors::{Entry, Header, write_f32_file};
use crate::{CheckpointError, Problem, Problems, Result};

const PREFIX: &str = "base_model.model.";

/// The two matrices of one module, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraWeights {
    /// Rank.
    pub r: usize,
    /// Columns of A: the module's inputs.
    pub in_features: usize,
    /// Rows of B: the module's outputs.
    pub out_features: usize,
    /// A, `[r, in_features]`.
    pub a: Vec<f32>,
    /// B, `[out_features, r]`.
    pub b: Vec<f32>,
}

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    A,
    B,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::A => "lora_A",
            Self::B => "lora_B",
        }
    }
}

/// The module and part of a tensor's name. PEFT strips the adapter's own name (`lora_A.default.weight`) when it saves;
/// other programs leave it there.
fn parse_name(name: &str) -> Option<(&str, Part)> {
    let rest = name.strip_prefix(PREFIX)?.strip_suffix(".weight")?;
    for part in [Part::A, Part::B] {
        if let Some((module, adapter)) = rest.rsplit_once(&format!(".{}", part.name()))
            && (adapter.is_empty() || (adapter.starts_with('.') && !adapter[1..].contains('.')))
        {
            return Some((module, part));
        }
    }
    None
}

/// All modules of a file.
///
/// # Errors
/// [`CheckpointError::Malformed`] with every tensor that is left over, missing, or of another shape than the config's
/// rank has; [`CheckpointError::Unsupported`] with every tensor that is not F32, F16 or BF16.
pub(super) fn read(
    file: &str,
    bytes: &[u8],
    config: &AdapterConfig,
) -> Result<BTreeMap<String, LoraWeights>> {
    let header = Header::parse(file, bytes)?;
    let mut parts = BTreeMap::<(&str, Part), &Entry>::new();
    let (mut problems, mut unread) = (Problems::default(), Problems::default());
    for (name, entry) in &header.tensors {
        let mut bad = |expected: String, found: String| {
            problems
                .0
                .push(Problem::new(file, format!("tensor `{name}`"), expected, found));
        };
        let Some((module, part)) = parse_name(name) else {
            bad(
                format!("only `{PREFIX}MODULE.lora_A.weight` and `lora_B.weight`"),
                "a tensor that belongs to neither".into(),
            );
            continue;
        };
        if entry.dtype.float().is_none() {
            let place = format!("tensor `{name}`");
            unread
                .0
                .push(Problem::new(file, place, "F32, F16 or BF16", entry.dtype.name));
        }
        let rank = config.rank(module);
        let (expected, fits) = match (part, entry.shape.as_slice()) {
            (Part::A, shape) => (format!("[{rank}, in]"), matches!(shape, [r, _] if *r == rank)),
            (Part::B, shape) => (format!("[out, {rank}]"), matches!(shape, [_, r] if *r == rank)),
        };
        if !fits {
            bad(
                format!("shape {expected}, as the config has rank {rank}"),
                format!("{:?}", entry.shape),
            );
        }
        if parts.insert((module, part), entry).is_some() {
            bad("one tensor a module and part".into(), "two".into());
        }
    }
    let modules: BTreeSet<&str> = parts.keys().map(|(module, _)| *module).collect();
    for module in &modules {
        for part in [Part::A, Part::B] {
            if !parts.contains_key(&(*module, part)) {
                let place = format!("tensor `{PREFIX}{module}.{}.weight`", part.name());
                problems.0.push(Problem::new(
                    file,
                    place,
                    "it beside its other half",
                    "no such tensor",
                ));
            }
        }
    }
    if modules.is_empty() && problems.0.is_empty() {
        problems.0.push(Problem::new(
            file,
            "tensors",
            "lora_A and lora_B of a module",
            "none",
        ));
    }
    problems.into_result()?;
    if !unread.0.is_empty() {
        return Err(CheckpointError::Unsupported {
            problems: unread,
            hint: "save the adapter again in float32".into(),
        });
    }
    let values = |entry: &Entry| {
        let mut values = vec![0.0; entry.shape.iter().product()];
        if let Some(dtype) = entry.dtype.float() {
            dtype.decode(&bytes[entry.range.clone()], &mut values);
        }
        values
    };
    let modules = modules.into_iter().map(|module| {
        let (a, b) = (parts[&(module, Part::A)], parts[&(module, Part::B)]);
        let weights = LoraWeights {
            r: a.shape[0],
            in_features: a.shape[1],
            out_features: b.shape[0],
            a: values(a),
            b: values(b),
        };
        (module.to_string(), weights)
    });
    Ok(modules.collect())
}

/// A safetensors file of all modules in f32.
pub(super) fn to_bytes(modules: &BTreeMap<String, LoraWeights>) -> Vec<u8> {
    let tensors: Vec<_> = modules
        .iter()
        .flat_map(|(module, weights)| {
            let name = |part: Part| format!("{PREFIX}{module}.{}.weight", part.name());
            [
                (
                    name(Part::A),
                    vec![weights.r, weights.in_features],
                    weights.a.as_slice(),
                ),
                (
                    name(Part::B),
                    vec![weights.out_features, weights.r],
                    weights.b.as_slice(),
                ),
            ]
        })
        .collect();
    write_f32_file(&tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_the_adapters_own() {
        let module = "model.layers.0.self_attn.q_proj";
        for (name, part) in [("lora_A.weight", Part::A), ("lora_B.default.weight", Part::B)] {
            let name = format!("base_model.model.{module}.{name}");
            assert!(parse_name(&name) == Some((module, part)), "{name}");
        }
        for name in [
            "base_model.model.model.embed_tokens.lora_embedding_A",
            "base_model.model.lm_head.base_layer.weight",
            "base_model.model.x.lora_A.a.b.weight",
            "base_model.model.x.lora_magnitude_vector.weight",
            "model.x.lora_A.weight",
        ] {
            assert!(parse_name(name).is_none(), "{name}");
        }
    }
}
