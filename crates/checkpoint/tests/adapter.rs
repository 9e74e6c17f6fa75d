//! Adapters that PEFT made, `tests/fixtures/tiny/*/reference`, there and back.

mod files;

use anylora_checkpoint::{Adapter, AdapterConfig, CheckpointError, Patterns, TargetModules};
use files::{safetensors, tiny};
use safetensors::SafeTensors;
use serde_json::{Value, json};

const FAMILIES: [&str; 4] = ["tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3"];

#[test]
fn reads_what_peft_wrote_and_writes_it_back() {
    let folder = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let path = tiny(family).join("reference/lora_f32_adapter_final");
        let adapter = Adapter::open(&path).unwrap();
        assert_eq!((adapter.config.r, adapter.config.lora_alpha), (8, 16.0));
        assert_eq!(adapter.config.scaling("model.layers.0.self_attn.q_proj"), 2.0);
        let targets = if family == "tiny-mistral" { 2 } else { 7 };
        assert_eq!(adapter.modules.len(), 2 * targets);
        assert!(
            matches!(&adapter.config.target_modules, Some(TargetModules::List(names)) if names.len() == targets)
        );
        assert_eq!(adapter.config.base_model_name_or_path.as_deref(), Some(family));
        assert!(adapter.warnings.0.is_empty());

        let written = folder.path().join("runs").join(family);
        adapter.write(&written).unwrap();
        assert_eq!(Adapter::open(&written).unwrap(), adapter);
        // Over a folder that is there, too; and no temporary file stays.
        adapter.write(&written).unwrap();
        assert_eq!(std::fs::read_dir(&written).unwrap().count(), 2);
        assert_eq!(
            std::fs::read_dir(folder.path().join("runs"))
                .unwrap()
                .filter(|entry| {
                    entry
                        .as_ref()
                        .unwrap()
                        .file_name()
                        .to_string_lossy()
                        .starts_with('.')
                })
                .count(),
            0
        );

        let read = |path: &std::path::Path| std::fs::read(path.join("adapter_model.safetensors")).unwrap();
        let (theirs, ours) = (read(&path), read(&written));
        let theirs = SafeTensors::deserialize(&theirs).unwrap();
        let ours = SafeTensors::deserialize(&ours).unwrap();
        let names = |tensors: &SafeTensors<'_>| {
            let mut names: Vec<_> = tensors.names().into_iter().map(String::from).collect();
            names.sort();
            names
        };
        assert_eq!(names(&ours), names(&theirs));
        for name in theirs.names() {
            assert_eq!(ours.tensor(name).unwrap(), theirs.tensor(name).unwrap(), "{name}");
        }
    }
}

#[test]
fn the_config_keeps_every_field_that_peft_shares() {
    let path = tiny("tiny-llama").join("reference/adapter_init/adapter_config.json");
    let theirs: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let (config, _) = AdapterConfig::from_json(theirs.to_string().as_bytes()).unwrap();
    let ours: Value = serde_json::from_str(&config.to_json()).unwrap();
    for (field, value) in ours.as_object().unwrap() {
        assert_eq!(theirs.get(field), Some(value), "{field}");
    }
}

fn config(fields: Value) -> Result<(AdapterConfig, anylora_checkpoint::Problems), CheckpointError> {
    let mut object = json!({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        object[name] = value.clone();
    }
    AdapterConfig::from_json(object.to_string().as_bytes())
}

#[test]
fn every_field_that_is_not_supported_is_named() {
    let error = config(json!({
        "use_dora": true,
        "modules_to_save": ["lm_head"],
        "bias": "all",
        "init_lora_weights": "pissa_niter_4",
        "invented": 3,
        "layer_replication": [[0, 4], [2, 5]],
    }))
    .unwrap_err();
    assert!(matches!(error, CheckpointError::Unsupported { .. }));
    for part in [
        "6 problems",
        "`use_dora`: expected nothing, as DoRA is not supported, found true",
        "`modules_to_save`",
        "`bias`: expected \"none\", found \"all\"",
        "`init_lora_weights`",
        "`invented`: expected no such field",
        "`layer_replication`",
    ] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
    let error = config(json!({"peft_type": "LOHA"})).unwrap_err();
    assert!(error.to_string().contains("found \"LOHA\""), "{error}");
    let (_, warnings) = config(json!({"eva_config": {"rho": 2.0}, "init_lora_weights": "eva"})).unwrap();
    assert_eq!(warnings.0.len(), 1);
}

#[test]
fn every_wrong_field_is_named() {
    let error = config(json!({
        "r": 0,
        "lora_alpha": "16",
        "lora_dropout": 1.5,
        "target_modules": [1],
        "layers_to_transform": -1,
        "rank_pattern": {"(": 4, "q": -2},
    }))
    .unwrap_err();
    assert!(matches!(error, CheckpointError::Malformed(_)));
    for part in [
        "`r`",
        "`lora_alpha`",
        "`lora_dropout`",
        "`target_modules`",
        "`layers_to_transform`",
        "`rank_pattern`",
    ] {
        assert!(error.to_string().contains(part), "{part} in {error}");
    }
}

#[test]
fn patterns_keep_their_order_and_the_first_match_counts() {
    let text = r#"{"r": 8, "lora_alpha": 16, "use_rslora": true, "target_modules": "all-linear", "layers_to_transform": 3,
        "rank_pattern": {"self_attn.v_proj": 4, "layers\\.[01]\\..*_proj": 2, "v_proj": 32}, "alpha_pattern": {"k_proj": 6}}"#;
    let (config, _) = AdapterConfig::from_json(text.as_bytes()).unwrap();
    assert_eq!(config.target_modules, Some(TargetModules::AllLinear));
    assert_eq!(config.layers_to_transform, Some(vec![3]));
    for (module, rank) in [
        ("model.layers.0.self_attn.v_proj", 4),
        ("model.layers.1.mlp.up_proj", 2),
        ("model.layers.2.mlp.up_proj", 8),
        ("model.layers.2.cross.v_proj", 32),
        ("model.layers.2.cross.xv_proj", 8),
    ] {
        assert_eq!(config.rank(module), rank, "{module}");
    }
    assert_eq!(
        config.scaling("model.layers.7.self_attn.k_proj"),
        6.0 / 8f64.sqrt()
    );
    let (again, _) = AdapterConfig::from_json(config.to_json().as_bytes()).unwrap();
    assert_eq!(again, config);
    let order: Vec<_> = again
        .rank_pattern
        .entries()
        .map(|(text, _)| text.to_string())
        .collect();
    assert_eq!(order, ["self_attn.v_proj", r"layers\.[01]\..*_proj", "v_proj"]);
    assert!(Patterns::new([("(".into(), 1.0)]).is_err());
}

#[test]
fn every_tensor_that_does_not_fit_is_listed() {
    let config = br#"{"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}"#;
    let name = |rest: &str| format!("base_model.model.model.layers.0.{rest}");
    let weights = safetensors(&[
        (&name("self_attn.q_proj.lora_A.weight"), "F32", &[2, 3], &[0; 24]),
        (&name("self_attn.k_proj.lora_A.weight"), "F32", &[3, 2], &[0; 24]),
        (&name("self_attn.k_proj.lora_B.weight"), "F32", &[3, 2], &[0; 24]),
        (
            &name("self_attn.k_proj.lora_magnitude_vector.weight"),
            "F32",
            &[2],
            &[0; 8],
        ),
        ("lm_head.weight", "F32", &[2], &[0; 8]),
    ]);
    let error = Adapter::from_bytes(config, &weights).unwrap_err().to_string();
    for part in [
        "4 problems",
        "`lm_head.weight`: expected only",
        "lora_magnitude_vector.weight`: expected only",
        "k_proj.lora_A.weight`: expected shape [2, in], as the config has rank 2, found [3, 2]",
        "q_proj.lora_B.weight`: expected it beside its other half, found no such tensor",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = Adapter::from_bytes(config, &safetensors(&[]))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("lora_A and lora_B of a module, found none"),
        "{error}"
    );
    let weights = safetensors(&[
        (
            &name("self_attn.q_proj.lora_A.default.weight"),
            "BF16",
            &[2, 3],
            &[0x80, 0x3f].repeat(6),
        ),
        (
            &name("self_attn.q_proj.lora_B.default.weight"),
            "F16",
            &[3, 2],
            &[0; 12],
        ),
    ]);
    let adapter = Adapter::from_bytes(config, &weights).unwrap();
    assert_eq!(adapter.modules["model.layers.0.self_attn.q_proj"].a, [1.0; 6]);
    assert_eq!(adapter.parameters(), 12);
}

#[test]
fn a_folder_without_an_adapter_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let message = || Adapter::open(folder.path()).unwrap_err();
    assert!(message().to_string().contains("no adapter_config.json"));
    std::fs::write(folder.path().join("adapter_config.json"), "{}").unwrap();
    assert!(message().to_string().contains("no adapter_model.safetensors"));
    std::fs::write(folder.path().join("adapter_model.bin"), "").unwrap();
    assert!(message().hint().unwrap().contains("save_pretrained"));
}
