//! `adapter_config.json` of a LoRA adapter, as PEFT writes it.
//!
//! Source of fields and defaults: PEFT 0.21 `tuners/lora/config.py`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::patterns::{Ordered, Patterns};
use super::target_modules::{ALL_LINEAR, TargetModules};
use super::unsupported;
use crate::fields::{Fields, parse_object};
use crate::{CheckpointError, Problem, Problems, Result};

pub(super) const CONFIG: &str = "adapter_config.json";

/// The configuration of a LoRA adapter (Hu et al., arXiv 2106.09685).
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// Rank of the adapters.
    pub r: usize,
    /// The update is scaled by `lora_alpha / r`, or `lora_alpha / sqrt(r)` with `use_rslora`.
    pub lora_alpha: f64,
    /// Probability of dropping an input of A while training.
    pub lora_dropout: f64,
    /// Rank-stabilized scaling (Kalajdzievski, arXiv 2312.03732).
    pub use_rslora: bool,
    /// Which modules have adapters; nothing where PEFT's table by model type decides.
    pub target_modules: Option<TargetModules>,
    /// Modules that have none all the same.
    pub exclude_modules: Option<TargetModules>,
    /// Layers that have adapters; nothing stands for all.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Names of the module lists that are counted as layers; empty for any.
    pub layers_pattern: Vec<String>,
    /// Ranks of modules that match an expression.
    pub rank_pattern: Patterns,
    /// `lora_alpha` of modules that match an expression.
    pub alpha_pattern: Patterns,
    /// The base model's path or hub id.
    pub base_model_name_or_path: Option<String>,
    /// The base model's revision on the hub.
    pub revision: Option<String>,
    /// `CAUSAL_LM`, where the file says.
    pub task_type: Option<String>,
}

impl AdapterConfig {
    /// Rank `r`, `lora_alpha` and targets; all else as PEFT's defaults.
    pub fn new(r: usize, lora_alpha: f64, target_modules: TargetModules) -> Self {
        Self {
            r,
            lora_alpha,
            lora_dropout: 0.0,
            use_rslora: false,
            target_modules: Some(target_modules),
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: Vec::new(),
            rank_pattern: Patterns::default(),
            alpha_pattern: Patterns::default(),
            base_model_name_or_path: None,
            revision: None,
            task_type: Some("CAUSAL_LM".into()),
        }
    }

    /// Parses adapter_config.json. The second value lists what is set there and has no effect here.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every wrong field; [`CheckpointError::Unsupported`] with every field that
    /// changes what the adapter computes and that this program does not have.
    pub fn from_json(bytes: &[u8]) -> Result<(Self, Problems)> {
        let object = parse_object(CONFIG, bytes)?;
        let ordered: OrderedFields =
            serde_json::from_slice(bytes).map_err(|error| CheckpointError::json(CONFIG, &error))?;
        let mut fields = Fields::new(CONFIG, "", &object);
        let f = &mut fields;
        if f.text("peft_type").is_some_and(|kind| kind != "LORA") {
            return Err(CheckpointError::Unsupported {
                problems: Problems(vec![Problem::new(
                    CONFIG,
                    "`peft_type`",
                    "\"LORA\"",
                    object["peft_type"].to_string(),
                )]),
                hint: "only LoRA adapters can be loaded".into(),
            });
        }
        let config = Self {
            r: f.size("r").unwrap_or(8),
            lora_alpha: f.number("lora_alpha").unwrap_or(8.0),
            lora_dropout: f.number("lora_dropout").unwrap_or(0.0),
            use_rslora: f.boolean("use_rslora").unwrap_or(false),
            target_modules: modules(f, "target_modules"),
            exclude_modules: modules(f, "exclude_modules"),
            layers_to_transform: layers(f),
            layers_pattern: names(f, "layers_pattern"),
            rank_pattern: Patterns::read(f, "rank_pattern", ordered.rank_pattern),
            alpha_pattern: Patterns::read(f, "alpha_pattern", ordered.alpha_pattern),
            base_model_name_or_path: f.text("base_model_name_or_path").map(String::from),
            revision: f.text("revision").map(String::from),
            task_type: f.text("task_type").map(String::from),
        };
        if !(0.0..1.0).contains(&config.lora_dropout) {
            f.problem(
                "lora_dropout",
                "a number from 0 to below 1",
                config.lora_dropout.to_string(),
            );
        }
        fields.problems.into_result()?;
        let warnings = unsupported::check(&object)?;
        Ok((config, warnings))
    }

    /// The rank of a module's adapter: that of the first matching entry of `rank_pattern`, or else `r`.
    pub fn rank(&self, module: &str) -> usize {
        let rank = self.rank_pattern.find(module);
        rank.map_or(self.r, |rank| rank as usize)
    }

    /// What the update of a module is multiplied with.
    pub fn scaling(&self, module: &str) -> f64 {
        let alpha = self.alpha_pattern.find(module).unwrap_or(self.lora_alpha);
        let rank = self.rank(module) as f64;
        alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// The file's text, which PEFT loads.
    pub fn to_json(&self) -> String {
        let file = File {
            alpha_pattern: &self.alpha_pattern,
            base_model_name_or_path: self.base_model_name_or_path.as_deref(),
            bias: "none",
            exclude_modules: self.exclude_modules.as_ref(),
            fan_in_fan_out: false,
            inference_mode: true,
            init_lora_weights: true,
            layers_pattern: Some(self.layers_pattern.as_slice()).filter(|names| !names.is_empty()),
            layers_to_transform: self.layers_to_transform.as_deref(),
            lora_alpha: number(self.lora_alpha),
            lora_dropout: self.lora_dropout,
            modules_to_save: None,
            peft_type: "LORA",
            r: self.r,
            rank_pattern: &self.rank_pattern,
            revision: self.revision.as_deref(),
            target_modules: self.target_modules.as_ref(),
            task_type: self.task_type.as_deref(),
            use_dora: false,
            use_rslora: self.use_rslora,
        };
        // Texts and numbers under fixed names: nothing that JSON cannot say.
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// The fields that are written.
#[derive(Serialize)]
struct File<'a> {
    alpha_pattern: &'a Patterns,
    base_model_name_or_path: Option<&'a str>,
    bias: &'a str,
    exclude_modules: Option<&'a TargetModules>,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    layers_pattern: Option<&'a [String]>,
    layers_to_transform: Option<&'a [usize]>,
    lora_alpha: Value,
    lora_dropout: f64,
    modules_to_save: Option<&'a [String]>,
    peft_type: &'a str,
    r: usize,
    rank_pattern: &'a Patterns,
    revision: Option<&'a str>,
    target_modules: Option<&'a TargetModules>,
    task_type: Option<&'a str>,
    use_dora: bool,
    use_rslora: bool,
}

/// The two fields whose order counts.
#[derive(Default, Deserialize)]
struct OrderedFields {
    #[serde(default)]
    rank_pattern: Ordered,
    #[serde(default)]
    alpha_pattern: Ordered,
}

/// A whole number without its fraction: `lora_alpha` is an integer in PEFT.
pub(super) fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// A list of names, an expression, or the text `all-linear`.
fn modules(f: &mut Fields<'_>, name: &str) -> Option<TargetModules> {
    match f.get(name)? {
        Value::String(text) if text == ALL_LINEAR => Some(TargetModules::AllLinear),
        Value::String(text) => Some(TargetModules::Regex(text.clone())),
        // A list, or a problem.
        _ => f.texts(name).map(TargetModules::List),
    }
}

/// One layer or a list of layers.
fn layers(f: &mut Fields<'_>) -> Option<Vec<usize>> {
    let name = "layers_to_transform";
    match f.get(name)? {
        Value::Array(_) => Some(f.sizes(name)),
        value => {
            let layer = value.as_u64().and_then(|layer| usize::try_from(layer).ok());
            if layer.is_none() {
                f.problem(name, "a layer's number or a list of them", value.to_string());
            }
            layer.map(|layer| vec![layer])
        }
    }
}

/// A text or a list of texts.
fn names(f: &mut Fields<'_>, name: &str) -> Vec<String> {
    match f.get(name) {
        None => Vec::new(),
        Some(Value::String(text)) => vec![text.clone()],
        Some(_) => f.texts(name).unwrap_or_default(),
    }
}
