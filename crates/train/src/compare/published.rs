//! Figures that others published, each with its source, and ours beside them: memory by plan at their settings, and
//! time and quality from the comparison itself.

use anylora_checkpoint::TargetModules;
use serde::Serialize;

use super::analysis::{Analysis, MethodFigures};
use super::extrapolation::planned;
use super::text::signed;
use crate::{Method, TrainConfig, TrainError};

/// Where figures are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// What it is.
    pub name: &'static str,
    /// Which version, and what was measured on.
    pub version: &'static str,
    /// Where it is.
    pub url: &'static str,
}

/// The sources, in the order of [`Published::source`].
pub const SOURCES: [Source; 3] = [
    Source {
        name: "QLoRA: Efficient Finetuning of Quantized LLMs (Dettmers et al., 2023)",
        version: "arXiv 2305.14314; abstract, tables 4 and 6",
        url: "https://arxiv.org/abs/2305.14314",
    },
    Source {
        name: "litgpt, tutorials/resource-tables.md",
        version: "file at 4839345; measured with litgpt 8641822, PyTorch 2.1.0, bitsandbytes 0.41.1 on an A100 40 GB, \
                  October 2023",
        url: "https://github.com/Lightning-AI/litgpt/blob/4839345a97a0a90bc5f2361664b04d665c9a0e89/tutorials/resource-tables.md",
    },
    Source {
        name: "torchtune, README.md",
        version: "file at 0031bfb; measured on one RTX 4090 with torch.compile, 2024",
        url: "https://github.com/pytorch/torchtune/blob/0031bfb080bd35ec533c412df883cf2bf7bf7fe4/README.md",
    },
];

/// What a figure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Peak memory of fine-tuning, or the weights alone.
    Memory,
    /// A step's time with 4-bit weights against 16-bit ones.
    Time,
    /// What a task's score changes by with 4-bit weights.
    Quality,
}

/// One published figure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Published {
    /// What it is about.
    pub topic: Topic,
    /// Model and method.
    pub what: &'static str,
    /// Under which settings.
    pub setting: &'static str,
    /// As published.
    pub published: &'static str,
    /// Ours.
    pub ours: String,
    /// A place in [`SOURCES`].
    pub source: usize,
}

/// A published memory figure, and how to plan the same.
struct Memory {
    source: usize,
    what: &'static str,
    setting: &'static str,
    published: &'static str,
    shape: &'static str,
    method: Method,
    rank: usize,
    /// None of all linear layers.
    targets: Option<&'static [&'static str]>,
    rows: usize,
    length: usize,
    unit: Unit,
    part: Part,
}

/// The unit that a source counts in.
enum Unit {
    Gb,
    Gib,
}

/// What of a plan a figure is about.
enum Part {
    Peak,
    Weights,
}

const QLORA: Memory = Memory {
    source: 0,
    what: "LLaMA 7B, 4 bits",
    setting: "the model's memory",
    published: "5 GB",
    shape: "llama-7b",
    method: Method::QloraDq,
    rank: 64,
    targets: None,
    rows: 1,
    length: 512,
    unit: Unit::Gb,
    part: Part::Weights,
};

const LITGPT: Memory = Memory {
    source: 1,
    what: "Llama 2 7B, LoRA",
    setting: "1 row of 1304 tokens, r 8 on q and v",
    published: "21.30 GB",
    shape: "llama-7b",
    method: Method::Lora,
    rank: 8,
    targets: Some(&["q_proj", "v_proj"]),
    rows: 1,
    length: 1304,
    unit: Unit::Gb,
    part: Part::Peak,
};

const TORCHTUNE: Memory = Memory {
    source: 2,
    what: "Llama 3.1 8B, LoRA",
    setting: "2 rows of 2048 tokens; ours r 8 on all linear layers",
    published: "16.2 GiB",
    shape: "llama3-8b",
    method: Method::Lora,
    rank: 8,
    targets: None,
    rows: 2,
    length: 2048,
    unit: Unit::Gib,
    part: Part::Peak,
};

const MEMORY: [Memory; 13] = [
    QLORA,
    Memory {
        what: "LLaMA 13B, 4 bits",
        published: "10 GB",
        shape: "llama-13b",
        ..QLORA
    },
    Memory {
        what: "LLaMA 33B, 4 bits",
        published: "21 GB",
        shape: "llama-30b",
        ..QLORA
    },
    Memory {
        what: "LLaMA 65B, 4 bits",
        published: "41 GB",
        shape: "llama-65b",
        ..QLORA
    },
    Memory {
        what: "LLaMA 65B, QLoRA",
        setting: "fine-tuning; ours 1 row of 512 tokens, r 64",
        published: "one 48 GB card",
        shape: "llama-65b",
        unit: Unit::Gib,
        part: Part::Peak,
        ..QLORA
    },
    LITGPT,
    Memory {
        what: "Llama 2 7B, NF4",
        published: "14.14 GB",
        method: Method::Qlora,
        ..LITGPT
    },
    Memory {
        what: "Llama 2 7B, NF4 + DQ",
        published: "13.84 GB",
        method: Method::QloraDq,
        ..LITGPT
    },
    Memory {
        what: "Llama 2 13B, LoRA",
        published: "38.12 GB",
        shape: "llama-13b",
        ..LITGPT
    },
    Memory {
        what: "Llama 2 13B, NF4",
        published: "23.14 GB",
        shape: "llama-13b",
        method: Method::Qlora,
        ..LITGPT
    },
    Memory {
        what: "Llama 2 13B, NF4 + DQ",
        published: "22.55 GB",
        shape: "llama-13b",
        method: Method::QloraDq,
        ..LITGPT
    },
    TORCHTUNE,
    Memory {
        what: "Llama 3.1 8B, QLoRA",
        published: "7.4 GiB",
        method: Method::Qlora,
        ..TORCHTUNE
    },
];

impl Memory {
    fn config(&self, recompute: bool) -> TrainConfig {
        let targets = self
            .targets
            .map(|names| names.iter().map(|&name| name.to_owned()).collect());
        self.method.configure(&TrainConfig {
            rank: self.rank,
            target_modules: targets.map_or(TargetModules::AllLinear, TargetModules::List),
            batch_size: self.rows,
            max_length: self.length,
            recompute,
            ..TrainConfig::default()
        })
    }

    fn planned(&self, recompute: bool) -> Result<Option<f64>, TrainError> {
        let Some(plan) = planned(self.shape, &self.config(recompute))? else {
            return Ok(None);
        };
        let peak = plan.peak_device_bytes;
        let bytes = match self.part {
            Part::Peak => peak.total,
            Part::Weights => peak.by_kind.get("weights").copied().unwrap_or(0),
        };
        Ok(Some(match self.unit {
            Unit::Gb => bytes as f64 / 1e9,
            Unit::Gib => bytes as f64 / (1_u64 << 30) as f64,
        }))
    }

    fn row(&self) -> Result<Option<Published>, TrainError> {
        let Some(with) = self.planned(true)? else {
            return Ok(None);
        };
        let unit = match self.unit {
            Unit::Gb => "GB",
            Unit::Gib => "GiB",
        };
        let mut ours = format!("{with:.2} {unit} by plan");
        if matches!(self.part, Part::Peak)
            && let Some(without) = self.planned(false)?
        {
            ours += &format!("; {without:.2} {unit} without recompute");
        }
        Ok(Some(Published {
            topic: Topic::Memory,
            what: self.what,
            setting: self.setting,
            published: self.published,
            ours,
            source: self.source,
        }))
    }
}

/// The published figures with ours beside them.
///
/// # Errors
/// Those of [`crate::plan::plan`].
pub fn published(analysis: &Analysis) -> Result<Vec<Published>, TrainError> {
    let mut all = Vec::new();
    for memory in &MEMORY {
        all.extend(memory.row()?);
    }
    let against_lora = analysis
        .methods
        .first()
        .is_some_and(|first| first.method == Method::Lora);
    let measured = |method: Method, figure: &dyn Fn(&MethodFigures) -> Option<String>| {
        let figures = analysis.methods.iter().find(|figures| figures.method == method);
        let found = figures.filter(|_| against_lora).and_then(figure);
        found.unwrap_or_else(|| "not measured".to_owned())
    };
    let time = |figures: &MethodFigures| Some(format!("{:.2} times, here", figures.step_time_ratio?.median));
    for (source, what, setting, published, method) in [
        (
            1,
            "Llama 2 7B, NF4",
            "time of 1000 iterations over LoRA's",
            "1.56 times (3.68 and 2.36 min)",
            Method::Qlora,
        ),
        (
            1,
            "Llama 2 7B, NF4 + DQ",
            "time of 1000 iterations over LoRA's",
            "1.62 times (3.83 and 2.36 min)",
            Method::QloraDq,
        ),
        (
            2,
            "Llama 3.1 8B, QLoRA",
            "time of a token over LoRA's",
            "1.28 times (2413 and 3083 tokens/s)",
            Method::Qlora,
        ),
    ] {
        all.push(Published {
            topic: Topic::Time,
            what,
            setting,
            published,
            ours: measured(method, &time),
            source,
        });
    }
    let quality = |figures: &MethodFigures| {
        let figure = figures.measured.get(&analysis.metric)?;
        let difference = figure.difference.as_ref()?.mean;
        let label = analysis.metric.label();
        Some(match analysis.metric.is_score() {
            true => format!("{difference:+.3} of {label}, here"),
            false => format!("{} of {label}, here", signed(difference / figure.estimate.mean)),
        })
    };
    all.push(Published {
        topic: Topic::Quality,
        what: "LLaMA 7B to 65B, NF4 + DQ",
        setting: "5-shot MMLU after Alpaca and FLAN v2, less BF16's",
        published: "+0.1 points (53.1 and 53.0)",
        ours: measured(Method::QloraDq, &quality),
        source: 0,
    });
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_at_published_settings_are_of_their_size() {
        let ours = |memory: &Memory| memory.planned(true).unwrap().unwrap();
        // Half a byte a number at least, and no more than the paper says.
        let sizes = [(6.74, 5.0), (13.02, 10.0), (32.53, 21.0), (65.29, 41.0)];
        for (memory, (billions, published)) in MEMORY[..4].iter().zip(sizes) {
            let ours = ours(memory);
            assert!(
                billions / 2.0 < ours && ours < published,
                "{}: {ours}",
                memory.what
            );
        }
        // 65 billion numbers in 4 bits are trained on one card of 48 GiB.
        assert!(ours(&MEMORY[4]) < 48.0);
        for memory in &MEMORY {
            assert!(memory.source < SOURCES.len());
            assert!(memory.planned(false).unwrap() >= memory.planned(true).unwrap());
        }
    }
}
