//! An adapter as a GGUF file for llama.cpp.
//!
//! Tensors are `blk.N.PART.weight.lora_a` `[r, in]` and `lora_b` `[out, r]`; llama.cpp scales the update with
//! `adapter.lora.alpha / r`. In its llama family the rows of q and k are permuted, hence those of their B. Source:
//! llama.cpp `convert_lora_to_gguf.py` and `llama-adapter.cpp`.

use super::Adapter;
use crate::gguf::{self, MetaValue, TensorData};
use crate::{CheckpointError, FloatType, ModelConfig, Problem, Problems, Result};

/// The file's bytes.
pub(super) fn to_bytes(adapter: &Adapter, base: &ModelConfig, dtype: FloatType) -> Result<Vec<u8>> {
    let (architecture, is_permuted) = match base.model_type.as_str() {
        "llama" | "mistral" => ("llama", true),
        "qwen2" => ("qwen2", false),
        "qwen3" => ("qwen3", false),
        other => {
            let expected = "llama, mistral, qwen2 or qwen3";
            let problem = Problem::new("base model", "`model_type`", expected, format!("{other:?}"));
            return Err(unsupported(Problems(vec![problem])));
        }
    };
    let alpha = adapter.config.lora_alpha as f32;
    let (mut tensors, mut problems) = (Vec::new(), Problems::default());
    for (module, weights) in &adapter.modules {
        let mut bad = |expected: String, found: String| {
            problems.0.push(Problem::new(
                "adapter",
                format!("module `{module}`"),
                expected,
                found,
            ));
        };
        let Some(name) = gguf::to_gguf(module) else {
            bad(
                "a linear module of the llama or qwen families".into(),
                "no name for it in llama.cpp".into(),
            );
            continue;
        };
        let mut b = weights.b.clone();
        if is_permuted && (module.ends_with(".q_proj") || module.ends_with(".k_proj")) {
            if !weights.out_features.is_multiple_of(base.head_dim) {
                bad(
                    format!("whole heads of {} rows", base.head_dim),
                    weights.out_features.to_string(),
                );
                continue;
            }
            b = gguf::permute(&b, base.head_dim, weights.r);
        }
        // llama.cpp knows one alpha and no rank-stabilized scaling: what differs goes into B.
        let factor = (adapter.config.scaling(module) * weights.r as f64 / f64::from(alpha)) as f32;
        if factor != 1.0 {
            b.iter_mut().for_each(|value| *value *= factor);
        }
        for (part, shape, values) in [
            ("lora_a", [weights.r, weights.in_features], &weights.a),
            ("lora_b", [weights.out_features, weights.r], &b),
        ] {
            match dtype.encode(values) {
                Ok(bytes) => tensors.push(TensorData {
                    name: format!("{name}.weight.{part}"),
                    dtype,
                    shape: shape.to_vec(),
                    bytes: bytes.into_owned(),
                }),
                Err(value) => bad(format!("values within {dtype}'s range"), value.to_string()),
            }
        }
    }
    if !problems.0.is_empty() {
        return Err(unsupported(problems));
    }
    let metadata = [
        ("general.architecture", MetaValue::Text(architecture)),
        ("general.type", MetaValue::Text("adapter")),
        ("adapter.type", MetaValue::Text("lora")),
        ("adapter.lora.alpha", MetaValue::F32(alpha)),
    ];
    Ok(gguf::write(&metadata, &tensors))
}

fn unsupported(problems: Problems) -> CheckpointError {
    CheckpointError::Unsupported {
        problems,
        hint: "use the adapter in PEFT's format, or merge it with `anylora merge`".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{AdapterConfig, LoraWeights, TargetModules};

    fn base(model_type: &str) -> ModelConfig {
        let json = format!(
            r#"{{"model_type": "{model_type}", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
                "num_attention_heads": 2, "vocab_size": 8}}"#
        );
        ModelConfig::from_json(json.as_bytes()).unwrap()
    }

    fn adapter(module: &str) -> Adapter {
        let weights = LoraWeights {
            r: 2,
            in_features: 8,
            out_features: 8,
            a: (0..16).map(|i| i as f32).collect(),
            b: (0..16).map(|i| i as f32 / 2.0).collect(),
        };
        let config = AdapterConfig::new(2, 6.0, TargetModules::AllLinear);
        Adapter::new(config, BTreeMap::from([(module.into(), weights)]))
    }

    const KEYS: [&str; 4] = [
        "general.architecture",
        "general.type",
        "adapter.type",
        "adapter.lora.alpha",
    ];

    #[test]
    fn llama_permutes_the_rows_of_q() {
        let adapter = adapter("model.layers.0.self_attn.q_proj");
        let bytes = adapter.to_gguf(&base("llama"), FloatType::F32).unwrap();
        let (values, tensors) = gguf::contents(&bytes, &KEYS);
        assert_eq!(values, ["llama", "adapter", "lora", "6"]);
        let weights = &adapter.modules["model.layers.0.self_attn.q_proj"];
        assert_eq!(
            tensors["blk.0.attn_q.weight.lora_a"],
            (vec![2, 8], weights.a.clone())
        );
        // Heads of 4 rows: 0, 2, 1, 3 of each.
        let rows: Vec<_> = weights.b.chunks(2).collect();
        let permuted = [0, 2, 1, 3, 4, 6, 5, 7].map(|row| rows[row]).concat();
        assert_eq!(tensors["blk.0.attn_q.weight.lora_b"], (vec![8, 2], permuted));
        let bytes = adapter.to_gguf(&base("qwen2"), FloatType::F32).unwrap();
        let (_, tensors) = gguf::contents(&bytes, &KEYS);
        assert_eq!(tensors["blk.0.attn_q.weight.lora_b"].1, weights.b);
    }

    #[test]
    fn other_scalings_go_into_b() {
        let mut adapter = adapter("model.layers.0.mlp.down_proj");
        adapter.config.use_rslora = true;
        let bytes = adapter.to_gguf(&base("llama"), FloatType::F32).unwrap();
        let (_, tensors) = gguf::contents(&bytes, &KEYS);
        let b = &adapter.modules["model.layers.0.mlp.down_proj"].b;
        // llama.cpp multiplies with 6 / 2; 6 / sqrt(2) is wanted.
        for (written, b) in tensors["blk.0.ffn_down.weight.lora_b"].1.iter().zip(b) {
            assert!((written * 3.0 - b * 6.0 / 2f32.sqrt()).abs() < 1e-5);
        }
    }

    #[test]
    fn what_llama_cpp_does_not_have_is_refused() {
        let error = adapter("model.layers.0.mlp.router")
            .to_gguf(&base("llama"), FloatType::F16)
            .unwrap_err();
        assert!(error.to_string().contains("model.layers.0.mlp.router"), "{error}");
        let error = adapter("lm_head")
            .to_gguf(&base("gpt2"), FloatType::F16)
            .unwrap_err();
        assert!(error.to_string().contains("found \"gpt2\""), "{error}");
        let mut adapter = adapter("lm_head");
        adapter.modules.get_mut("lm_head").unwrap().b[3] = 1e6;
        let error = adapter.to_gguf(&base("llama"), FloatType::F16).unwrap_err();
        assert!(
            error.to_string().contains("within F16's range, found 1000000"),
            "{error}"
        );
    }
}
