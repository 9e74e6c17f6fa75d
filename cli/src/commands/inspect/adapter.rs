//! A LoRA adapter, as `inspect` shows it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;
use anylora_checkpoint::{Adapter, TargetModules};
use serde::Serialize;

use super::{grouped, line, size};
use crate::model::checkpoint_error;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub struct Report {
    kind: &'static str,
    path: String,
    base_model: Option<String>,
    rank: usize,
    alpha: f64,
    dropout: f64,
    rslora: bool,
    /// What the update is multiplied with.
    scaling: f64,
    /// As the config has them.
    target_modules: Vec<String>,
    /// Names of the modules that have matrices, without their place.
    targets: BTreeSet<String>,
    /// Blocks that have some.
    layers: BTreeSet<usize>,
    modules: usize,
    parameters: usize,
    bytes: u64,
    /// Settings that have no effect here.
    warnings: Vec<String>,
}

impl Report {
    /// Reads the adapter.
    pub fn new(path: &Path) -> Result<Self> {
        let adapter = Adapter::open(path).map_err(checkpoint_error)?;
        let config = &adapter.config;
        let target_modules = match &config.target_modules {
            Some(TargetModules::List(names)) => names.clone(),
            Some(other) => vec![other.to_string()],
            None => Vec::new(),
        };
        let last = |module: &String| module.rsplit('.').next().map(str::to_owned);
        let layer = |module: &String| module.split('.').find_map(|part| part.parse().ok());
        Ok(Self {
            kind: "adapter",
            path: path.display().to_string(),
            base_model: config.base_model_name_or_path.clone(),
            rank: config.r,
            alpha: config.lora_alpha,
            dropout: config.lora_dropout,
            rslora: config.use_rslora,
            scaling: config.scaling(""),
            target_modules,
            targets: adapter.modules.keys().filter_map(last).collect(),
            layers: adapter.modules.keys().filter_map(layer).collect(),
            modules: adapter.modules.len(),
            parameters: adapter.parameters(),
            bytes: std::fs::metadata(path.join("adapter_model.safetensors")).map_or(0, |file| file.len()),
            warnings: adapter.warnings.0.iter().map(ToString::to_string).collect(),
        })
    }

    /// What is printed without `--json`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let out = &mut text;
        line(out, "adapter", "LoRA");
        line(
            out,
            "base model",
            self.base_model.as_deref().unwrap_or("not named"),
        );
        let root = if self.rslora { ", rank-stabilized" } else { "" };
        let scaling = format!(
            "{}, alpha {}: scaled by {}{root}",
            self.rank, self.alpha, self.scaling
        );
        line(out, "rank", &scaling);
        line(out, "dropout", &self.dropout.to_string());
        let targets: Vec<_> = self.targets.iter().map(String::as_str).collect();
        let value = format!(
            "{} in {} blocks, {} modules",
            targets.join(", "),
            self.layers.len(),
            self.modules
        );
        line(out, "targets", &value);
        let value = format!("{}, {}", grouped(self.parameters as u64), size(self.bytes));
        line(out, "parameters", &value);
        for warning in &self.warnings {
            line(out, "no effect", warning);
        }
        text
    }
}
