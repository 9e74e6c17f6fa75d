//! What stands beside the weights when a model is written again: config, tokenizer, template.

use anylora_quant::Codebook;
use serde_json::{Map, Value, json};

use crate::{Checkpoint, FloatType, ModelConfig, RopeScaling};

impl Checkpoint {
    /// The files of a Hugging Face folder beside its weights, for a copy of this model with weights of type `dtype`:
    /// config.json without a quantization's entry, generation_config.json, the tokenizer's files, by name. They are
    /// made from its metadata where the checkpoint is a GGUF file.
    pub fn side_files(&self, dtype: FloatType) -> Vec<(String, Vec<u8>)> {
        self.files_with(dtype, None)
    }

    /// The same for a copy whose linear layers are in 4 bits, as bitsandbytes has them: config.json says so.
    pub fn side_files_4bit(
        &self,
        dtype: FloatType,
        codebook: Codebook,
        double: bool,
    ) -> Vec<(String, Vec<u8>)> {
        let quantization = json!({
            "quant_method": "bitsandbytes",
            "load_in_4bit": true,
            "load_in_8bit": false,
            "bnb_4bit_quant_type": codebook.name(),
            "bnb_4bit_use_double_quant": double,
            "bnb_4bit_quant_storage": "uint8",
            "bnb_4bit_compute_dtype": "float32",
        });
        self.files_with(dtype, Some(quantization))
    }

    fn files_with(&self, dtype: FloatType, quantization: Option<Value>) -> Vec<(String, Vec<u8>)> {
        let torch_name = match dtype {
            FloatType::F32 => "float32",
            FloatType::F16 => "float16",
            FloatType::BF16 => "bfloat16",
        };
        let mut config = self
            .config_object()
            .unwrap_or_else(|| config_object(self.config()));
        config.remove("quantization_config");
        config.remove("torch_dtype");
        config.insert("dtype".to_owned(), torch_name.into());
        if let Some(quantization) = quantization {
            config.insert("quantization_config".to_owned(), quantization);
        }
        let mut files = vec![("config.json".to_owned(), pretty(config))];

        let generation = self.generation_config();
        let generation: Map<String, Value> = [
            ("bos_token_id", json!(generation.bos_token_id)),
            ("eos_token_id", json!(generation.eos_token_ids)),
            ("pad_token_id", json!(generation.pad_token_id)),
            ("do_sample", json!(generation.do_sample)),
            ("temperature", json!(generation.temperature)),
            ("top_k", json!(generation.top_k)),
            ("top_p", json!(generation.top_p)),
            ("repetition_penalty", json!(generation.repetition_penalty)),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        files.push(("generation_config.json".to_owned(), pretty(generation)));

        if let Some(json) = self.tokenizer_json() {
            files.push(("tokenizer.json".to_owned(), json.into_owned()));
            let stored = self.tokenizer_config();
            let mut tokenizer = stored.raw.clone();
            for (name, token) in [
                ("bos_token", &stored.bos_token),
                ("eos_token", &stored.eos_token),
                ("pad_token", &stored.pad_token),
                ("unk_token", &stored.unk_token),
            ] {
                if let Some(token) = token {
                    tokenizer.entry(name).or_insert_with(|| json!(token));
                }
            }
            tokenizer
                .entry("tokenizer_class")
                .or_insert_with(|| json!("PreTrainedTokenizerFast"));
            tokenizer.remove("chat_template");
            files.push(("tokenizer_config.json".to_owned(), pretty(tokenizer)));
            if let Some(template) = self.chat_template() {
                files.push(("chat_template.jinja".to_owned(), template.into_bytes()));
            }
        }
        files
    }
}

fn pretty(object: Map<String, Value>) -> Vec<u8> {
    format!("{:#}\n", Value::Object(object)).into_bytes()
}

/// config.json of these hyperparameters, in the form that transformers 4 and 5 both read.
fn config_object(config: &ModelConfig) -> Map<String, Value> {
    let architecture = match config.model_type.as_str() {
        "mistral" => "MistralForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        _ => "LlamaForCausalLM",
    };
    let window = config.sliding_windows.iter().flatten().next();
    let fields = [
        ("architectures", json!([architecture])),
        ("model_type", json!(config.model_type)),
        ("hidden_size", json!(config.hidden_size)),
        ("intermediate_size", json!(config.intermediate_size)),
        ("num_hidden_layers", json!(config.num_hidden_layers)),
        ("num_attention_heads", json!(config.num_attention_heads)),
        ("num_key_value_heads", json!(config.num_key_value_heads)),
        ("head_dim", json!(config.head_dim)),
        ("vocab_size", json!(config.vocab_size)),
        ("max_position_embeddings", json!(config.max_position_embeddings)),
        ("rms_norm_eps", json!(config.rms_norm_eps)),
        ("hidden_act", json!(config.hidden_act)),
        ("rope_theta", json!(config.rope.theta)),
        ("rope_scaling", scaling(&config.rope.scaling)),
        ("tie_word_embeddings", json!(config.tie_word_embeddings)),
        ("attention_bias", json!(config.attention_bias)),
        ("mlp_bias", json!(config.mlp_bias)),
        ("sliding_window", json!(window)),
        ("use_sliding_window", json!(window.is_some())),
        ("bos_token_id", json!(config.bos_token_id)),
        ("eos_token_id", json!(config.eos_token_ids)),
        ("pad_token_id", json!(config.pad_token_id)),
    ];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn scaling(scaling: &RopeScaling) -> Value {
    match scaling {
        RopeScaling::Default => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
        RopeScaling::Dynamic {
            factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "dynamic",
            "factor": factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_max_position_embeddings,
        }),
        RopeScaling::Yarn {
            factor,
            original_max_position_embeddings,
            attention_factor,
            beta_fast,
            beta_slow,
            mscale,
            mscale_all_dim,
            truncate,
        } => {
            let mut value = json!({
                "rope_type": "yarn",
                "factor": factor,
                "original_max_position_embeddings": original_max_position_embeddings,
                "beta_fast": beta_fast,
                "beta_slow": beta_slow,
                "truncate": truncate,
            });
            for (name, number) in [
                ("attention_factor", attention_factor),
                ("mscale", mscale),
                ("mscale_all_dim", mscale_all_dim),
            ] {
                if let Some(number) = number {
                    value[name] = json!(number);
                }
            }
            value
        }
    }
}
