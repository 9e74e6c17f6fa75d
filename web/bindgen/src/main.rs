//! `anylora-web-bindgen IN.wasm OUT`: writes the JavaScript of a wasm module's exports and the module that goes with it.

use std::env::args_os;
use std::path::PathBuf;

use anyhow::{Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = args_os().skip(1).map(PathBuf::from).collect();
    let [input, out] = arguments.as_slice() else {
        bail!("expected IN.wasm and a folder, found {arguments:?}");
    };
    Bindgen::new()
        .input_path(input)
        .web(true)?
        .typescript(true)
        // Without it `init()` finds the module beside its own script.
        .omit_default_module_path(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(out)
}
