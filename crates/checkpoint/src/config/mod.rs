//! `config.json`: the hyperparameters of a model.

mod attention;
mod rope;

use serde_json::{Map, Value};

use crate::fields::{Fields, parse_object};
use crate::{FloatType, Result};

pub use rope::{RopeConfig, RopeScaling};

/// The hyperparameters of a decoder-only transformer, as transformers' `PretrainedConfig` of the llama, mistral,
/// qwen2 and qwen3 families names them.
///
/// A model of another family parses too if it has the common fields; whoever builds the model refuses it by
/// [`ModelConfig::model_type`].
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// The family: `llama`, `qwen2`, ...
    pub model_type: String,
    /// Class names, `LlamaForCausalLM`; empty where the file has none.
    pub architectures: Vec<String>,
    /// Width of the residual stream, H.
    pub hidden_size: usize,
    /// Width of the MLP.
    pub intermediate_size: usize,
    /// Transformer blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads, a divisor of `num_attention_heads`; the same number where the file has none.
    pub num_key_value_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` where the file has none.
    pub head_dim: usize,
    /// Rows of the embedding, V.
    pub vocab_size: usize,
    /// The longest sequence that the model was made for.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// The MLP's activation: `silu`.
    pub hidden_act: String,
    /// Rotary position embedding.
    pub rope: RopeConfig,
    /// Whether the head shares the embedding's matrix.
    pub tie_word_embeddings: bool,
    /// Whether all attention projections have biases (llama, qwen3). The qwen2 family has them on q, k and v
    /// whatever this says.
    pub attention_bias: bool,
    /// Whether the MLP's projections have biases.
    pub mlp_bias: bool,
    /// For each layer, how many of the latest positions its attention sees, itself included; nothing where it
    /// sees all. `[num_hidden_layers]`
    pub sliding_windows: Vec<Option<usize>>,
    /// Begin-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Padding token.
    pub pad_token_id: Option<u32>,
    /// The type in which the weights were stored.
    pub dtype: Option<FloatType>,
}

/// Layers beyond which a config is absurd.
const MAX_LAYERS: usize = 10_000;

impl ModelConfig {
    /// Parses config.json, in the form of transformers 5 or of earlier versions.
    ///
    /// # Errors
    /// [`crate::CheckpointError::Malformed`] with every missing, wrong or contradicting field.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        Self::from_object("config.json", &parse_object("config.json", bytes)?)
    }

    /// The same from an object that came out of `file`.
    pub(crate) fn from_object(file: &str, object: &Map<String, Value>) -> Result<Self> {
        let mut fields = Fields::new(file, "", object);
        let f = &mut fields;
        let model_type = f.text("model_type").unwrap_or_default().to_string();
        if model_type.is_empty() {
            f.problem("model_type", "the model's family, such as \"llama\"", "nothing");
        }
        // Defaults are those of the family's config class in transformers.
        let (positions, vocab) = match model_type.as_str() {
            "mistral" => (131_072, 32_000),
            "qwen2" | "qwen3" => (32_768, 151_936),
            _ => (2048, 32_000),
        };
        let num_attention_heads = f.required_size("num_attention_heads");
        let is_heads_good = f.problems.0.is_empty();
        let hidden_size = f.required_size("hidden_size");
        // What follows from a bad number is no second problem.
        let is_width_good = f.problems.0.is_empty();
        let num_hidden_layers = f.required_size("num_hidden_layers");
        if num_hidden_layers > MAX_LAYERS {
            f.problem(
                "num_hidden_layers",
                format!("at most {MAX_LAYERS}"),
                num_hidden_layers.to_string(),
            );
            return Err(crate::CheckpointError::Malformed(fields.problems));
        }
        let max_position_embeddings = f.size("max_position_embeddings").unwrap_or(positions);
        let head_dim = match f.size("head_dim") {
            Some(head_dim) => head_dim,
            None => {
                if is_width_good && !hidden_size.is_multiple_of(num_attention_heads) {
                    let found = format!("{hidden_size} for {num_attention_heads} heads and no `head_dim`");
                    f.problem("hidden_size", "a multiple of `num_attention_heads`", found);
                }
                (hidden_size / num_attention_heads).max(1)
            }
        };
        let num_key_value_heads = f.size("num_key_value_heads").unwrap_or(num_attention_heads);
        if is_heads_good && !num_attention_heads.is_multiple_of(num_key_value_heads) {
            f.problem(
                "num_key_value_heads",
                format!("a divisor of `num_attention_heads` ({num_attention_heads})"),
                num_key_value_heads.to_string(),
            );
        }
        if is_width_good && !head_dim.is_multiple_of(2) {
            f.problem(
                "head_dim",
                "an even number, for RoPE's pairs",
                head_dim.to_string(),
            );
        }
        let rms_norm_eps = f.number("rms_norm_eps").unwrap_or(1e-6);
        if !(0.0..1.0).contains(&rms_norm_eps) {
            f.problem("rms_norm_eps", "a number from 0 to 1", rms_norm_eps.to_string());
        }
        let dtype_field = if f.get("dtype").is_some() {
            "dtype"
        } else {
            "torch_dtype"
        };
        let config = Self {
            architectures: f.texts("architectures").unwrap_or_default(),
            hidden_size,
            intermediate_size: f.required_size("intermediate_size"),
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size: f.size("vocab_size").unwrap_or(vocab),
            max_position_embeddings,
            rms_norm_eps,
            hidden_act: f.text("hidden_act").unwrap_or("silu").to_string(),
            rope: rope::read(f, file, max_position_embeddings),
            tie_word_embeddings: f.boolean("tie_word_embeddings").unwrap_or(false),
            attention_bias: f.boolean("attention_bias").unwrap_or(false),
            mlp_bias: f.boolean("mlp_bias").unwrap_or(false),
            sliding_windows: attention::sliding_windows(f, &model_type, num_hidden_layers),
            bos_token_id: f.token_id("bos_token_id"),
            eos_token_ids: f.token_ids("eos_token_id"),
            pad_token_id: f.token_id("pad_token_id"),
            // A name that is not one of the three, such as `auto`, says nothing about the stored weights.
            dtype: f.text(dtype_field).and_then(FloatType::from_torch_name),
            model_type,
        };
        fields.problems.into_result()?;
        Ok(config)
    }

    /// The widths of the attention's projections: rows of q_proj (and columns of o_proj), rows of k_proj and v_proj.
    pub fn attention_widths(&self) -> (usize, usize) {
        (
            self.num_attention_heads * self.head_dim,
            self.num_key_value_heads * self.head_dim,
        )
    }
}
