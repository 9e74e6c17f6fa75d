//! Shapes of well-known models, to plan for them without their weights. Figures are those of each model's
//! config.json on its authors' pages.

use anylora_checkpoint::ModelConfig;
use serde_json::json;

/// `[hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, vocab_size]`.
type Sizes = [usize; 6];

struct Shape {
    name: &'static str,
    family: &'static str,
    sizes: Sizes,
    head_dim: Option<usize>,
    tied: bool,
}

const fn shape(name: &'static str, family: &'static str, sizes: Sizes, tied: bool) -> Shape {
    Shape {
        name,
        family,
        sizes,
        head_dim: None,
        tied,
    }
}

const fn with_head_dim(shape: Shape, head_dim: usize) -> Shape {
    Shape {
        head_dim: Some(head_dim),
        ..shape
    }
}

const SHAPES: &[Shape] = &[
    shape("llama-7b", "llama", [4096, 11008, 32, 32, 32, 32000], false),
    shape("llama-13b", "llama", [5120, 13824, 40, 40, 40, 32000], false),
    shape("llama-30b", "llama", [6656, 17920, 60, 52, 52, 32000], false),
    shape("llama-65b", "llama", [8192, 22016, 80, 64, 64, 32000], false),
    shape("llama3-8b", "llama", [4096, 14336, 32, 32, 8, 128_256], false),
    shape("llama3-70b", "llama", [8192, 28672, 80, 64, 8, 128_256], false),
    shape("llama3.2-1b", "llama", [2048, 8192, 16, 32, 8, 128_256], true),
    shape("llama3.2-3b", "llama", [3072, 8192, 28, 24, 8, 128_256], true),
    shape("mistral-7b", "mistral", [4096, 14336, 32, 32, 8, 32768], false),
    shape("qwen2.5-0.5b", "qwen2", [896, 4864, 24, 14, 2, 151_936], true),
    shape("qwen2.5-1.5b", "qwen2", [1536, 8960, 28, 12, 2, 151_936], true),
    shape("qwen2.5-3b", "qwen2", [2048, 11008, 36, 16, 2, 151_936], true),
    shape("qwen2.5-7b", "qwen2", [3584, 18944, 28, 28, 4, 152_064], false),
    shape("qwen2.5-14b", "qwen2", [5120, 13824, 48, 40, 8, 152_064], false),
    shape("qwen2.5-32b", "qwen2", [5120, 27648, 64, 40, 8, 152_064], false),
    with_head_dim(
        shape("qwen3-0.6b", "qwen3", [1024, 3072, 28, 16, 8, 151_936], true),
        128,
    ),
    with_head_dim(
        shape("qwen3-8b", "qwen3", [4096, 12288, 36, 32, 8, 151_936], false),
        128,
    ),
    shape("smollm2-135m", "llama", [576, 1536, 30, 9, 3, 49152], true),
    shape("smollm2-360m", "llama", [960, 2560, 32, 15, 5, 49152], true),
    shape("smollm2-1.7b", "llama", [2048, 8192, 24, 32, 32, 49152], true),
];

/// The names that [`named`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.name)
}

/// The config of a named shape, or None where there is no such name.
pub fn named(name: &str) -> Option<ModelConfig> {
    let shape = SHAPES
        .iter()
        .find(|shape| shape.name.eq_ignore_ascii_case(name))?;
    let [hidden, intermediate, layers, heads, kv_heads, vocab] = shape.sizes;
    let mut config = json!({
        "model_type": shape.family,
        "hidden_size": hidden,
        "intermediate_size": intermediate,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "tie_word_embeddings": shape.tied,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "max_position_embeddings": 131_072,
        "sliding_window": null,
    });
    if let Some(head_dim) = shape.head_dim {
        config["head_dim"] = head_dim.into();
    }
    ModelConfig::from_json(config.to_string().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_published_parameters() {
        let parameters = |name: &str| -> f64 {
            let config = named(name).unwrap();
            let specs = anylora_models::layout(&config).unwrap();
            let all: usize = specs
                .iter()
                .map(|spec| spec.shape.iter().product::<usize>())
                .sum();
            all as f64 / 1e9
        };
        for (name, billions) in [
            ("llama-7b", 6.738),
            ("llama-13b", 13.016),
            ("llama-30b", 32.529),
            ("llama-65b", 65.286),
            ("llama3-8b", 8.030),
            ("llama3-70b", 70.554),
            ("llama3.2-1b", 1.236),
            ("llama3.2-3b", 3.213),
            ("mistral-7b", 7.248),
            ("qwen2.5-0.5b", 0.494),
            ("qwen2.5-1.5b", 1.544),
            ("qwen2.5-7b", 7.616),
            ("qwen3-0.6b", 0.596),
            ("qwen3-8b", 8.191),
            ("smollm2-135m", 0.1345),
            ("smollm2-1.7b", 1.711),
        ] {
            assert!(
                (parameters(name) - billions).abs() < 0.001,
                "{name}: {}",
                parameters(name)
            );
        }
        for name in names() {
            assert!(parameters(name) > 0.1, "{name}");
        }
        assert!(named("llama-8b").is_none());
    }
}
