//! Everything that decides a run: one struct, one set of defaults. A TOML file and flags override it; the docs of
//! its fields are the flags' `--help`.

use std::path::PathBuf;

use anylora_checkpoint::TargetModules;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use crate::choices::{Dtype, Quant, Schedule, TrainOn};

/// Declares [`TrainConfig`] and, from the same lines, the overrides that files and flags give.
macro_rules! config {
    (
        settings { $( $(#[doc = $doc:literal])+ $([$($arg:tt)+])? $name:ident: $type:ty = $default:expr; )+ }
        options { $( $(#[doc = $option_doc:literal])+ $option:ident: $option_type:ty; )+ }
    ) => {
        /// Everything that decides a run. The resolved one is written into the run folder as `config.toml`.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        pub struct TrainConfig {
            $( $(#[doc = $option_doc])+ #[serde(skip_serializing_if = "Option::is_none")] pub $option: Option<$option_type>, )+
            $( $(#[doc = $doc])+ pub $name: $type, )+
        }

        impl Default for TrainConfig {
            fn default() -> Self {
                Self { $( $option: None, )+ $( $name: $default, )+ }
            }
        }

        /// What a TOML file or flags say: the rest stays as it was.
        #[derive(Clone, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[cfg_attr(feature = "clap", derive(clap::Args))]
        pub struct TrainOverrides {
            $( $(#[doc = $option_doc])+ #[cfg_attr(feature = "clap", arg(long))] pub $option: Option<$option_type>, )+
            $( $(#[doc = $doc])+ #[cfg_attr(feature = "clap", arg(long, $($($arg)+)?))] pub $name: Option<$type>, )+
        }

        impl TrainOverrides {
            /// The names of all settings.
            pub const NAMES: &[&str] = &[ $( stringify!($option), )+ $( stringify!($name), )+ ];

            /// Writes what is given over `config`.
            pub fn apply(self, config: &mut TrainConfig) {
                $( if self.$option.is_some() { config.$option = self.$option; } )+
                $( if let Some(value) = self.$name { config.$name = value; } )+
            }
        }
    };
}

config! {
    settings {
        /// Weights of the frozen linear layers: `nf4` (QLoRA) or `none` (LoRA on the weights as they are)
        quant: Quant = Quant::Nf4;
        /// Quantize the scales of NF4 blocks too (0.37 bits a parameter less)
        [num_args = 0..=1, default_missing_value = "true"]
        double_quant: bool = true;
        /// Dense base weights and, where the device has it, activations. f32 keeps weights as stored
        dtype: Dtype = Dtype::F32;
        /// Rank of the adapter's matrices
        rank: usize = 16;
        /// The adapter's output is scaled by alpha / rank
        alpha: f32 = 32.0;
        /// Dropout on the adapter's input
        dropout: f32 = 0.0;
        /// Scale by alpha / sqrt(rank) (rank-stabilized LoRA, arXiv 2312.03732)
        [num_args = 0..=1, default_missing_value = "true"]
        rslora: bool = false;
        /// Which linear layers get an adapter: a list (`q_proj,v_proj`), `all-linear`, or a regex over full names
        target_modules: TargetModules = TargetModules::AllLinear;
        /// Epochs, where steps aren't given; may be a fraction
        epochs: f64 = 1.0;
        /// Rows a micro-batch
        batch_size: usize = 4;
        /// Micro-batches a step; their gradients are weighted by trained tokens
        grad_accum: usize = 1;
        /// Tokens an example at most: longer ones are cut
        max_length: usize = 1024;
        /// Put several short examples into one row; attention does not cross
        [num_args = 0..=1, default_missing_value = "true"]
        packing: bool = true;
        /// A new order each epoch, from the seed
        [num_args = 0..=1, default_missing_value = "true"]
        shuffle: bool = true;
        /// Tokens that are trained: `completion` (or the assistant's turns) or `all`
        train_on: TrainOn = TrainOn::Completion;
        /// Learning rate at its highest
        lr: f32 = 2e-4;
        /// B's learning rate is this many times A's (LoRA+, arXiv 2402.12354)
        lora_plus_ratio: f32 = 1.0;
        /// How the learning rate falls after the warm-up
        schedule: Schedule = Schedule::Cosine;
        /// Decoupled weight decay
        weight_decay: f32 = 0.01;
        /// AdamW's decay of the first moment
        beta1: f32 = 0.9;
        /// AdamW's decay of the second moment
        beta2: f32 = 0.999;
        /// AdamW's epsilon
        eps: f32 = 1e-8;
        /// Gradients are scaled down to this global norm at most; 0 is off
        clip: f32 = 1.0;
        /// Keep only each block's input and compute the rest again in backward: less memory, more time
        [num_args = 0..=1, default_missing_value = "true"]
        recompute: bool = true;
        /// Steps between evaluations on --eval-data; 0 evaluates at the end only
        eval_every: usize = 0;
        /// Stop after this many evaluations without a better loss, and keep the best adapter; 0 is off
        patience: usize = 0;
        /// Steps between checkpoints; 0 writes one at the end only
        save_every: usize = 100;
        /// Write an event file for TensorBoard into the run folder: `tensorboard --logdir RUN`
        [num_args = 0..=1, default_missing_value = "true"]
        tensorboard: bool = false;
        /// Seed of the adapter's start, the order of the data and dropout
        seed: u64 = 42;
        /// `auto`, `cpu`, `vulkan[:N]`, `metal[:N]`, `dx12[:N]`, `cuda[:N]`, or `software` for tests
        device: String = "auto".to_owned();
    }
    options {
        /// The base model: a folder, a .gguf file or a hub id
        model: String;
        /// Training data: a JSONL, JSON, CSV, TSV or text file
        data: PathBuf;
        /// Held-out data
        eval_data: PathBuf;
        /// The run folder
        out: PathBuf;
        /// The data's format, where its content doesn't tell
        format: String;
        /// The time that a chat template with a date in it sees, such as 2026-11-25T12:00 [default: the run's beginning, UTC]
        template_time: DateTime;
        /// Start from this adapter (PEFT's format) instead of a new one
        adapter_init: PathBuf;
        /// Optimizer steps; takes precedence over epochs
        steps: usize;
        /// Steps over which the learning rate rises from 0 [default: 3 % of all]
        warmup_steps: usize;
        /// Layers that get an adapter, as a range `FIRST..END` [default: all]
        layers: String;
    }
}

impl TrainConfig {
    /// `alpha / rank`, or `alpha / sqrt(rank)` for rsLoRA.
    pub fn lora_scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Everything that no run can work with, all at once; empty where there is nothing.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                problems.push(what);
            }
        };
        expect(
            (1..=1024).contains(&self.rank),
            format!("rank should be from 1 to 1024, found {}", self.rank),
        );
        expect(
            self.alpha.is_finite() && self.alpha > 0.0,
            format!("alpha should be above 0, found {}", self.alpha),
        );
        expect(
            (0.0..1.0).contains(&self.dropout),
            format!("dropout should be from 0 to below 1, found {}", self.dropout),
        );
        for (name, value) in [("batch_size", self.batch_size), ("grad_accum", self.grad_accum)] {
            expect(value > 0, format!("{name} should be at least 1"));
        }
        expect(self.max_length > 1, "max_length should be at least 2".to_owned());
        expect(self.steps != Some(0), "steps should be at least 1".to_owned());
        expect(
            self.epochs.is_finite() && self.epochs > 0.0,
            format!("epochs should be above 0, found {}", self.epochs),
        );
        expect(
            self.lr.is_finite() && self.lr > 0.0,
            format!("lr should be above 0, found {}", self.lr),
        );
        for (name, value) in [("lora_plus_ratio", self.lora_plus_ratio), ("eps", self.eps)] {
            expect(
                value.is_finite() && value > 0.0,
                format!("{name} should be above 0, found {value}"),
            );
        }
        for (name, value) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            expect(
                (0.0..1.0).contains(&value),
                format!("{name} should be from 0 to below 1, found {value}"),
            );
        }
        for (name, value) in [("weight_decay", self.weight_decay), ("clip", self.clip)] {
            expect(
                value.is_finite() && value >= 0.0,
                format!("{name} should be 0 or above, found {value}"),
            );
        }
        if self.eval_data.is_none() {
            for (name, value) in [("eval_every", self.eval_every), ("patience", self.patience)] {
                expect(value == 0, format!("{name} needs eval_data"));
            }
        }
        if let Err(what) = self.layer_range() {
            problems.push(what);
        }
        problems
    }

    /// The layers that get an adapter, or None for all.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn layer_range(&self) -> Result<Option<std::ops::Range<usize>>, String> {
        let Some(text) = &self.layers else {
            return Ok(None);
        };
        let range = text
            .split_once("..")
            .and_then(|(first, end)| Some(first.trim().parse().ok()?..end.trim().parse().ok()?))
            .filter(|range| !range.is_empty());
        match range {
            Some(range) => Ok(Some(range)),
            None => Err(format!("layers should be a range like 0..12, found '{text}'")),
        }
    }
}
