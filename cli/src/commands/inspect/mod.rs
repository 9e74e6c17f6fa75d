//! `anylora inspect`: what a model or adapter is.

mod adapter;
mod model;

use anyhow::Result;
use clap::Args;

use crate::model::path;
use crate::output;

/// Show what a model folder, a .gguf file, a LoRA adapter or a hub id holds.
///
/// For a model: family, parameters, shapes, number formats with their sizes, tokenizer, end tokens and chat template.
/// For an adapter: rank, scaling, targets and size. No weight is read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora inspect models/SmolLM2-135M-Instruct\n  \
    anylora inspect model.gguf --json\n  \
    anylora inspect runs/first/adapter")]
pub struct Inspect {
    /// A model folder, a .gguf file, an adapter folder or a hub id
    path: String,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

impl Inspect {
    /// Opens and prints.
    pub fn run(self) -> Result<()> {
        let path = path(&self.path)?;
        if path.join("adapter_config.json").is_file() && !path.join("config.json").is_file() {
            let report = adapter::Report::new(&path)?;
            return self.print(&report, &report.text());
        }
        let report = model::Report::new(&path)?;
        self.print(&report, &report.text())
    }

    fn print(&self, report: &impl serde::Serialize, text: &str) -> Result<()> {
        if self.json {
            output::print_json(report)
        } else {
            output::print(text)
        }
    }
}

/// One line `name  value`, names in one column.
fn line(text: &mut String, name: &str, value: &str) {
    text.push_str(&format!("{name:<14}{value}\n"));
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that suits them.
fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_are_grouped() {
        let cases = [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (134_515_008, "134,515,008"),
        ];
        for (number, text) in cases {
            assert_eq!(super::grouped(number), text);
        }
    }
}
