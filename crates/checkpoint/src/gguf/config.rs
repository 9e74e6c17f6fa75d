//! From llama.cpp's metadata keys to [`ModelConfig`].
//!
//! Source of the keys: gguf-py `constants.py`; of their meaning: llama.cpp `llama-model.cpp` and the classes of
//! `convert_hf_to_gguf.py` that write them.

use serde_json::{Map, Value, json};

use super::metadata::MetaView;
use crate::{ModelConfig, Result};

/// What the tensors say that the metadata do not.
pub(super) struct Present<'a> {
    /// Whether there is a tensor of this name, which is transformers'.
    pub(super) has: &'a dyn Fn(&str) -> bool,
    /// Rows of the embedding.
    pub(super) vocab_size: Option<usize>,
    /// `rope_freqs.weight`: what each frequency is divided by.
    pub(super) rope_factors: Option<Vec<f32>>,
}

/// The hyperparameters of the model.
///
/// # Errors
/// [`crate::CheckpointError::Malformed`] with every missing, wrong or contradicting key.
pub(super) fn read(view: &mut MetaView<'_>, present: &Present<'_>) -> Result<ModelConfig> {
    let architecture = view.text("general.architecture").unwrap_or_default().to_string();
    let key = |name: &str| format!("{architecture}.{name}");
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.into(), value);
        }
    };
    for (name, gguf, needed) in [
        ("hidden_size", "embedding_length", true),
        ("intermediate_size", "feed_forward_length", true),
        ("num_hidden_layers", "block_count", true),
        ("num_attention_heads", "attention.head_count", true),
        ("num_key_value_heads", "attention.head_count_kv", false),
        ("head_dim", "attention.key_length", false),
        ("max_position_embeddings", "context_length", false),
    ] {
        let key = key(gguf);
        if needed && !view.contains(&key) {
            view.problem(&key, "the model's hyperparameter", "no such key");
        }
        set(name, view.unsigned(&key).map(Value::from));
    }
    let window = view
        .unsigned(&key("attention.sliding_window"))
        .filter(|window| *window > 0);
    // llama.cpp's llama architecture is also that of Mistral's models; the window tells them apart.
    let model_type = match (architecture.as_str(), window) {
        ("llama", Some(_)) => "mistral",
        (other, _) => other,
    };
    set("model_type", Some(model_type.into()));
    set("sliding_window", Some(window.map_or(Value::Null, Value::from)));
    let vocab_size = view.unsigned(&key("vocab_size"));
    let vocab_size = present.vocab_size.map(|size| size as u64).or(vocab_size);
    set("vocab_size", vocab_size.map(Value::from));
    let eps = "attention.layer_norm_rms_epsilon";
    set("rms_norm_eps", view.float(&key(eps)).map(shortest));
    set(
        "tie_word_embeddings",
        Some(Value::Bool(!(present.has)("lm_head.weight"))),
    );
    let bias = |module: &str| (present.has)(&format!("model.layers.0.{module}.bias"));
    set("attention_bias", Some(bias("self_attn.o_proj").into()));
    set("mlp_bias", Some(bias("mlp.gate_proj").into()));
    set("hidden_act", Some("silu".into()));
    for (name, gguf) in [
        ("bos_token_id", "tokenizer.ggml.bos_token_id"),
        ("pad_token_id", "tokenizer.ggml.padding_token_id"),
    ] {
        set(name, view.token(gguf).map(Value::from));
    }
    set("eos_token_id", Some(eos_tokens(view).into()));
    let rope = rope(view, &architecture, present.rope_factors.as_deref());
    set("rope_parameters", Some(rope));
    std::mem::take(&mut view.problems).into_result()?;
    let mut config = ModelConfig::from_object(view.file, &config)?;
    if let Some(dimensions) = view.unsigned(&key("rope.dimension_count")) {
        config.rope.partial_rotary_factor = dimensions as f64 / config.head_dim as f64;
    }
    Ok(config)
}

/// The tokens that end a text: the end of the sequence, of a turn, and of a message.
fn eos_tokens(view: &mut MetaView<'_>) -> Vec<u32> {
    let mut tokens = Vec::new();
    for name in ["eos", "eot", "eom"] {
        if let Some(token) = view.token(&format!("tokenizer.ggml.{name}_token_id"))
            && !tokens.contains(&token)
        {
            tokens.push(token);
        }
    }
    tokens
}

/// `rope_parameters` as transformers 5 writes them.
fn rope(view: &mut MetaView<'_>, architecture: &str, factors: Option<&[f32]>) -> Value {
    let key = |name: &str| format!("{architecture}.rope.{name}");
    let theta = view.float(&key("freq_base")).unwrap_or(10_000.0);
    let factor = view.float(&key("scaling.factor"));
    let original = view.unsigned(&key("scaling.original_context_length"));
    // llama.cpp multiplies its own attention factor with this; transformers' is the product.
    let attention = key("scaling.attn_factor");
    if let Some(factor) = view.float(&attention).filter(|factor| *factor != 1.0) {
        view.problem(&attention, "1, or no such key", factor.to_string());
    }
    let kind_key = key("scaling.type");
    let kind = view.text(&kind_key).unwrap_or("none");
    match (factors, kind) {
        (Some(factors), _) => match llama3(factors, theta) {
            Some(mut parameters) => {
                parameters["rope_theta"] = theta.into();
                parameters
            }
            None => {
                let expected = "the factors of Llama 3's scaling";
                view.problem("rope_freqs.weight", expected, format!("{} others", factors.len()));
                Value::Null
            }
        },
        (None, "none") => json!({"rope_theta": theta}),
        (None, "linear") => json!({"rope_type": "linear", "rope_theta": theta, "factor": factor}),
        (None, "yarn") => json!({
            "rope_type": "yarn",
            "rope_theta": theta,
            "factor": factor,
            "original_max_position_embeddings": original,
            "beta_fast": view.float(&key("scaling.yarn_beta_fast")),
            "beta_slow": view.float(&key("scaling.yarn_beta_slow")),
        }),
        (None, other) => {
            view.problem(
                &kind_key,
                "\"none\", \"linear\" or \"yarn\"",
                format!("{other:?}"),
            );
            Value::Null
        }
    }
}

/// Llama 3's parameters out of the factors that llama.cpp's converter made of them, one for each pair of a head's
/// elements. The blend's bounds are 1 and 4 and the first training's length is 8192 in all of Llama 3's models;
/// factors that do not follow are refused.
fn llama3(factors: &[f32], theta: f64) -> Option<Value> {
    let (low, high, original) = (1.0, 4.0, 8192.0);
    let factor = f64::from(*factors.last()?);
    let pairs = factors.len() as f64;
    let fits = factors.iter().enumerate().all(|(i, found)| {
        let wavelength = 2.0 * std::f64::consts::PI * theta.powf(i as f64 / pairs);
        let expected = if wavelength < original / high {
            1.0
        } else if wavelength > original / low {
            factor
        } else {
            let smooth = (original / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        };
        (f64::from(*found) - expected).abs() <= 1e-4 * expected
    });
    fits.then(|| {
        json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original as u64,
        })
    })
}

/// An f32 as the number that its shortest digits are in f64, which is what config.json has: 1e-5 rather than
/// 9.99999974737875e-6.
fn shortest(number: f64) -> Value {
    let digits = (number as f32).to_string();
    digits.parse().map_or(Value::Null, |number: f64| number.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llama_3_factors_are_recognised_and_others_are_not() {
        // Llama 3.2 1B: theta 500000, head_dim 64, factor 32; as transformers blends them.
        let factors: Vec<f32> = (0..32)
            .map(|i| {
                let wavelength = 2.0 * std::f64::consts::PI * 500_000f64.powf(i as f64 / 32.0);
                match wavelength {
                    w if w < 2048.0 => 1.0,
                    w if w > 8192.0 => 32.0,
                    w => {
                        let smooth = (8192.0 / w - 1.0) / 3.0;
                        (1.0 / ((1.0 - smooth) / 32.0 + smooth)) as f32
                    }
                }
            })
            .collect();
        let found = llama3(&factors, 500_000.0).unwrap();
        assert_eq!(found["factor"], 32.0);
        assert!(llama3(&factors, 10_000.0).is_none());
        assert!(llama3(&[1.0, 2.0, 3.0], 500_000.0).is_none());
        assert!(llama3(&[], 500_000.0).is_none());
    }

    #[test]
    fn an_f32_becomes_its_shortest_digits() {
        assert_eq!(shortest(f64::from(1e-5f32)), Value::from(1e-5));
        assert_eq!(shortest(f64::from(1e-6f32)), Value::from(1e-6));
    }
}
