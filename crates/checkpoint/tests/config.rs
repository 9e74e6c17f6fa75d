//! config.json in the forms that transformers has written over time, and the files beside it.

mod files;

use anylora_checkpoint::{
    Checkpoint, CheckpointError, FloatType, GenerationConfig, ModelConfig, RopeScaling, TokenizerConfig,
};
use files::tiny_files;
use serde_json::{Value, json};

/// A config of the least fields and `more`.
fn parse(model_type: &str, more: Value) -> Result<ModelConfig, CheckpointError> {
    let mut object = json!({
        "model_type": model_type,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "vocab_size": 100,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    ModelConfig::from_json(object.to_string().as_bytes())
}

#[test]
fn defaults_are_those_of_transformers() {
    let config = parse(
        "llama",
        json!({"eos_token_id": [2, 5], "bos_token_id": null, "torch_dtype": "bfloat16"}),
    )
    .unwrap();
    assert_eq!((config.num_key_value_heads, config.head_dim), (8, 8));
    assert_eq!(
        (config.max_position_embeddings, config.rms_norm_eps),
        (2048, 1e-6)
    );
    assert_eq!(
        (config.rope.theta, &config.rope.scaling),
        (10_000.0, &RopeScaling::Default)
    );
    assert_eq!(
        (config.hidden_act.as_str(), config.tie_word_embeddings),
        ("silu", false)
    );
    assert_eq!(
        (config.bos_token_id, config.eos_token_ids.as_slice()),
        (None, &[2, 5][..])
    );
    assert_eq!(config.dtype, Some(FloatType::BF16));
    assert_eq!(config.attention_widths(), (64, 64));
    assert_eq!(
        parse("some_new_family", json!({})).unwrap().model_type,
        "some_new_family"
    );
}

#[test]
fn both_forms_of_rope() {
    let llama3 = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let old = parse("llama", json!({"rope_theta": 5e5, "rope_scaling": llama3})).unwrap();
    let mut parameters = llama3.clone();
    parameters["rope_theta"] = json!(5e5);
    let new = parse("llama", json!({"rope_parameters": parameters})).unwrap();
    assert_eq!(old.rope, new.rope);
    assert_eq!(old.rope.theta, 5e5);
    let expected = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    assert_eq!(old.rope.scaling, expected);

    // The oldest form says `type`.
    let linear = parse("llama", json!({"rope_scaling": {"type": "linear", "factor": 2}})).unwrap();
    assert_eq!(linear.rope.scaling, RopeScaling::Linear { factor: 2.0 });
    let dynamic = json!({"max_position_embeddings": 512, "rope_scaling": {"type": "dynamic", "factor": 4.0}});
    let expected = RopeScaling::Dynamic {
        factor: 4.0,
        original_max_position_embeddings: 512,
    };
    assert_eq!(parse("llama", dynamic).unwrap().rope.scaling, expected);
    let yarn = json!({"max_position_embeddings": 131072, "rope_theta": 1e6,
        "rope_scaling": {"rope_type": "yarn", "original_max_position_embeddings": 32768, "mscale": 0.7}});
    let expected = RopeScaling::Yarn {
        factor: 4.0,
        original_max_position_embeddings: 32768,
        attention_factor: None,
        beta_fast: 32.0,
        beta_slow: 1.0,
        mscale: Some(0.7),
        mscale_all_dim: None,
        truncate: true,
    };
    assert_eq!(parse("qwen2", yarn).unwrap().rope.scaling, expected);
    assert_eq!(
        parse("llama", json!({"rope_scaling": null}))
            .unwrap()
            .rope
            .scaling,
        RopeScaling::Default
    );
}

#[test]
fn windows_by_family() {
    let windows = |model_type, more| parse(model_type, more).unwrap().sliding_windows;
    assert_eq!(windows("mistral", json!({})), [Some(4096); 4]);
    assert_eq!(windows("mistral", json!({"sliding_window": 16})), [Some(16); 4]);
    assert_eq!(windows("mistral", json!({"sliding_window": null})), [None; 4]);
    assert_eq!(windows("llama", json!({"sliding_window": 16})), [None; 4]);
    assert_eq!(
        windows("qwen2", json!({"sliding_window": 16, "max_window_layers": 2})),
        [None; 4]
    );
    let qwen = json!({"sliding_window": 16, "use_sliding_window": true, "max_window_layers": 3});
    assert_eq!(windows("qwen3", qwen), [None, None, None, Some(16)]);
    let types = json!({"sliding_window": 16, "use_sliding_window": true,
        "layer_types": ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]});
    assert_eq!(windows("qwen2", types), [Some(16), None, None, Some(16)]);
}

#[test]
fn every_bad_field_is_listed() {
    let error = parse(
        "llama",
        json!({
            "hidden_size": 0,
            "intermediate_size": "many",
            "num_key_value_heads": 3,
            "vocab_size": -1,
            "rms_norm_eps": 7,
            "rope_scaling": {"rope_type": "longrope", "factor": 2},
            "rope_theta": 0,
            "eos_token_id": "x",
            "layer_types": ["full_attention"],
        }),
    )
    .unwrap_err();
    let error = error.to_string();
    for part in [
        "config.json: `hidden_size`: expected a whole number from 1 to 2^31, found 0",
        "`intermediate_size`: expected a whole number from 1 to 2^31, found \"many\"",
        "`num_key_value_heads`: expected a divisor of `num_attention_heads` (8), found 3",
        "`vocab_size`",
        "`rms_norm_eps`",
        "`rope_scaling.rope_type`: expected one of \"default\", \"linear\", \"dynamic\", \"llama3\" and \"yarn\", found \"longrope\"",
        "`rope_theta`",
        "`eos_token_id`: expected a token id or a list of token ids",
        "`layer_types`: expected 4 of",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = ModelConfig::from_json(b"{}").unwrap_err().to_string();
    assert!(
        error.contains("`model_type`") && error.contains("`hidden_size`"),
        "{error}"
    );
    assert!(parse("llama", json!({"num_hidden_layers": 2_000_000_000u32})).is_err());
    assert!(parse("llama", json!({"rope_scaling": {"type": "linear"}})).is_err());
}

#[test]
fn chat_templates_from_either_file() {
    let with = |config: Value, jinja: Option<&str>| {
        let mut files = tiny_files("tiny-llama");
        files.remove("chat_template.jinja");
        files.insert(
            "tokenizer_config.json".into(),
            config.to_string().into_bytes().into(),
        );
        if let Some(jinja) = jinja {
            files.insert("chat_template.jinja".into(), jinja.as_bytes().to_vec().into());
        }
        Checkpoint::from_files(files).unwrap().chat_template()
    };
    assert_eq!(with(json!({}), None), None);
    assert_eq!(with(json!({"chat_template": "A"}), None).as_deref(), Some("A"));
    assert_eq!(
        with(json!({"chat_template": "A"}), Some("B")).as_deref(),
        Some("B")
    );
    let list = json!({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]});
    assert_eq!(with(list.clone(), None).as_deref(), Some("D"));
    let config = TokenizerConfig::from_json(list.to_string().as_bytes()).unwrap();
    assert_eq!(config.chat_templates.len(), 2);
}

#[test]
fn special_tokens_as_text_or_object() {
    let config = json!({"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>", "pad_token": null,
        "add_bos_token": true, "tokenizer_class": "LlamaTokenizer"});
    let config = TokenizerConfig::from_json(config.to_string().as_bytes()).unwrap();
    assert_eq!(
        (config.bos_token.as_deref(), config.eos_token.as_deref()),
        (Some("<s>"), Some("</s>"))
    );
    assert_eq!(
        (config.pad_token, config.add_bos_token, config.add_eos_token),
        (None, Some(true), None)
    );
    assert_eq!(config.raw["tokenizer_class"], "LlamaTokenizer");
    assert!(TokenizerConfig::from_json(br#"{"bos_token": 7, "chat_template": 7}"#).is_err());
}

#[test]
fn generation_config_falls_back_to_the_models_tokens() {
    let generation = GenerationConfig::from_json(
        br#"{"eos_token_id": [128001, 128008], "temperature": 0.6, "top_p": 0.9, "top_k": 0, "do_sample": true}"#,
    )
    .unwrap();
    assert_eq!(generation.eos_token_ids, [128001, 128008]);
    assert_eq!((generation.temperature, generation.top_k), (Some(0.6), None));
    let mut files = tiny_files("tiny-llama");
    files.remove("generation_config.json");
    let checkpoint = Checkpoint::from_files(files).unwrap();
    assert_eq!(checkpoint.generation_config().eos_token_ids, [2]);
    assert_eq!(checkpoint.generation_config().pad_token_id, Some(0));
}
