//! Expands, validates and reflects `../../shaders` and writes the tables that `src/lib.rs` includes.
//!
//! The work is in `compile/`, which the tests use too; this file is only its inputs and outputs.

#[path = "compile/mod.rs"]
mod compile;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

/// When set to a folder, the final WGSL of every variant is written there.
const DUMP: &str = "ANYLORA_DUMP_WGSL";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let folder = manifest.join("../../shaders");
    println!("cargo::rerun-if-env-changed={DUMP}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=compile");
    rerun_if_changed(&folder)?;

    let mut library = compile::Sources::read(&folder).and_then(|sources| compile::compile(&sources))?;
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        library.shrink_for_browsers();
    }
    write_if_changed(&out.join("shaders.rs"), &compile::emit::rust(&library))?;
    if let Some(dump) = env::var_os(DUMP).filter(|dump| !dump.is_empty()) {
        let dump = PathBuf::from(dump);
        fs::create_dir_all(&dump)?;
        for shader in &library.shaders {
            let name = shader.variant.label().replace(' ', "__");
            write_if_changed(&dump.join(format!("{name}.wgsl")), &shader.wgsl)?;
        }
    }
    Ok(())
}

/// Every folder is named beside its files: a new file changes the folder only.
fn rerun_if_changed(folder: &Path) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", folder.display());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            rerun_if_changed(&path)?;
        } else {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
    Ok(())
}

/// An unchanged file keeps its time stamp, so that nothing which depends on it is built again.
fn write_if_changed(path: &Path, text: &str) -> io::Result<()> {
    match fs::read_to_string(path) {
        Ok(old) if old == text => Ok(()),
        _ => fs::write(path, text),
    }
}
