//! `anylora pack`: a model as the browser loads it.

use std::path::PathBuf;

use anyhow::Result;
use anylora_checkpoint::MAX_PART_BYTES;
use clap::Args;

use super::plan::size::Size;
use crate::error::{Annotate, request};
use crate::model::{self, Quant};
use crate::{output, packs};

/// Write a model as a folder that the browser loads.
///
/// Linear layers are packed in NF4 with double quantization, the embedding in 16 bits; weights that are in 4 bits
/// already stay as they are. The folder holds safetensors files of at most 64 MiB, config, tokenizer and chat template,
/// and manifest.json with the SHA-256 of each. Any web server can serve it, and --model takes it like any folder.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    anylora pack --model HuggingFaceTB/SmolLM2-135M-Instruct --out packed\n  \
    anylora web --model packed")]
pub struct Pack {
    /// A model folder, a .gguf file or a hub id such as HuggingFaceTB/SmolLM2-135M-Instruct
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// How linear layers are packed
    #[arg(long, value_enum, default_value = "nf4", value_name = "FORMAT")]
    quant: Quant,
    /// The folder to write; a pack that is there is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The largest file, at most 64MiB
    #[arg(long, default_value = "64MiB", value_name = "SIZE")]
    max_shard_size: Size,
}

impl Pack {
    /// Writes the folder.
    pub fn run(self) -> Result<()> {
        let Size(max_shard_bytes) = self.max_shard_size;
        if max_shard_bytes > MAX_PART_BYTES {
            let found = format!("--max-shard-size: expected at most 64MiB, found {max_shard_bytes} bytes");
            return Err(request(found)).hint("--max-shard-size 64MiB");
        }
        let path = model::path(&self.model)?;
        let checkpoint = model::open(&self.model)?;
        let name = packs::name(&self.model, &path);
        let manifest = packs::write(
            &checkpoint,
            self.quant,
            &self.out,
            &name,
            max_shard_bytes as usize,
        )?;
        anstream::eprintln!(
            "{} files, {:.1} MB",
            manifest.parts().count() + 1,
            manifest.total_bytes() as f64 / 1e6
        );
        output::print(&format!("{}\n", self.out.display()))
    }
}
