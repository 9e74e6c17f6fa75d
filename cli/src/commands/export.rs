//! `anylora export`: an adapter for llama.cpp.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use anylora_checkpoint::{Adapter, CheckpointError, FloatType, write_atomically};
use clap::{Args, ValueEnum};

use crate::error::{Annotate, request};
use crate::model::{self, checkpoint_error};
use crate::output;

/// Write an adapter as a GGUF file, for llama.cpp's --lora.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    anylora export --adapter runs/first/adapter --gguf adapter.gguf\n  \
    llama-cli -m model.gguf --lora adapter.gguf")]
pub struct Export {
    /// An adapter's folder, in PEFT's format
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    gguf: PathBuf,
    /// The base model, where the adapter doesn't say or it isn't there any more
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The type of the matrices
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

/// Types that llama.cpp takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Export {
    /// Writes the file.
    pub fn run(self) -> Result<()> {
        let adapter = Adapter::open(&self.adapter).map_err(checkpoint_error)?;
        for warning in &adapter.warnings.0 {
            eprintln!("warning: {warning}");
        }
        let base = self.model.or(adapter.config.base_model_name_or_path.clone());
        let Some(base) = base else {
            return Err(request("the adapter doesn't name its base model"))
                .hint("--model FOLDER, FILE.gguf or a hub id");
        };
        let checkpoint = model::open(&base).hint("--model names the base model")?;
        let dtype = match self.dtype {
            Dtype::F32 => FloatType::F32,
            Dtype::F16 => FloatType::F16,
            Dtype::Bf16 => FloatType::BF16,
        };
        let bytes = adapter
            .to_gguf(checkpoint.config(), dtype)
            .map_err(checkpoint_error)?;
        if self.gguf.is_dir() {
            let found = format!(
                "{}: expected a file to write, found a folder",
                self.gguf.display()
            );
            return Err(request(found)).hint(format!("--gguf {}", self.gguf.join("adapter.gguf").display()));
        }
        let path = self.gguf.clone();
        write_atomically(&self.gguf, |file| {
            file.write_all(&bytes)
                .map_err(|source| CheckpointError::Io { path, source })
        })
        .map_err(checkpoint_error)?;
        output::print(&format!("{}\n", self.gguf.display()))
    }
}
