//! Fields of `adapter_config.json` beside the ones that are read: which change what the adapter computes, and which do
//! not.

use serde_json::{Map, Value};

use super::config::CONFIG;
use crate::fields::kind;
use crate::{CheckpointError, Problem, Problems, Result};

/// Fields that `AdapterConfig` holds.
const READ: [&str; 14] = [
    "peft_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
    "rank_pattern",
    "alpha_pattern",
    "base_model_name_or_path",
    "revision",
    "task_type",
];

/// Fields that say how the adapter came about, or matter only together with another one that is checked.
const WITHOUT_EFFECT: [&str; 6] = [
    "auto_mapping",
    "inference_mode",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "runtime_config",
];

/// Fields of initializations that leave the base model as it is: without effect, worth a warning.
const WARNED: [&str; 2] = ["eva_config", "ensure_weight_tying"];

/// Fields that change what is computed, with what they ask for.
const REFUSED: [(&str, &str); 18] = [
    ("use_dora", "DoRA"),
    ("lora_bias", "biases of B"),
    ("modules_to_save", "modules that are trained whole"),
    ("fan_in_fan_out", "transposed weights"),
    ("layer_replication", "replicated layers"),
    ("trainable_token_indices", "trained tokens"),
    ("target_parameters", "adapters of parameters that are no modules'"),
    ("alora_invocation_tokens", "activated LoRA"),
    ("use_qalora", "QA-LoRA"),
    ("use_bdlora", "BD-LoRA"),
    ("arrow_config", "Arrow"),
    ("kasa_config", "KaSA"),
    ("velora_config", "VeLoRA"),
    ("monteclora_config", "MonteCLoRA"),
    ("megatron_config", "Megatron"),
    ("loftq_config", "LoftQ, which changes the base model"),
    ("corda_config", "CorDA, which changes the base model"),
    ("lora_ga_config", "LoRA-GA, which changes the base model"),
];

/// Initializations that leave the base model as it is. The others (`pissa`, `olora`, `corda`, `loftq`, ...) subtract the
/// adapter's start from it, and an adapter that was saved with one of them needs that changed base model.
const INITS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// The fields that are set and have no effect here.
///
/// # Errors
/// [`CheckpointError::Unsupported`] with every field that changes what is computed, one that is not known included.
pub(super) fn check(object: &Map<String, Value>) -> Result<Problems> {
    let (mut refused, mut warnings) = (Problems::default(), Problems::default());
    for (name, value) in object {
        let name = name.as_str();
        if READ.contains(&name) || WITHOUT_EFFECT.contains(&name) || is_neutral(name, value) {
            continue;
        }
        let place = format!("`{name}`");
        let found = kind(value);
        if WARNED.contains(&name) {
            warnings.0.push(Problem::new(CONFIG, place, "nothing", found));
        } else if let Some((_, what)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
            let expected = format!("nothing, as {what} is not supported");
            refused.0.push(Problem::new(CONFIG, place, expected, found));
        } else {
            refused
                .0
                .push(Problem::new(CONFIG, place, known_values(name), found));
        }
    }
    if refused.0.is_empty() {
        return Ok(warnings);
    }
    Err(CheckpointError::Unsupported {
        problems: refused,
        hint: "train the adapter as plain LoRA, or merge it with PEFT's `merge_and_unload()` and load the merged model"
            .into(),
    })
}

/// Whether a value asks for nothing.
fn is_neutral(name: &str, value: &Value) -> bool {
    match (name, value) {
        ("bias", Value::String(bias)) => bias == "none",
        ("init_lora_weights", Value::Bool(_)) => true,
        ("init_lora_weights", Value::String(init)) => INITS.contains(&init.as_str()),
        (_, Value::Null | Value::Bool(false)) => true,
        (_, Value::Array(items)) => items.is_empty(),
        (_, Value::Object(fields)) => fields.is_empty(),
        (_, Value::String(text)) => text.is_empty(),
        (_, Value::Bool(true) | Value::Number(_)) => false,
    }
}

fn known_values(name: &str) -> &'static str {
    match name {
        "bias" => "\"none\"",
        "init_lora_weights" => "true, false, \"gaussian\", \"eva\" or \"orthogonal\"",
        _ => "no such field: a newer PEFT may have written it",
    }
}
