//! The invariants of ARCHITECTURE.md that a test can hold: who may depend on whom, and how large a file is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The crates from the ground up. Arrows point down only.
const LAYERS: [&[&str]; 7] = [
    &[
        "anylora-quant",
        "anylora-shaders",
        "anylora-data",
        "anylora-checkpoint",
    ],
    &["anylora-engine"],
    &[
        "anylora-engine-wgpu",
        "anylora-engine-burn",
        "anylora-engine-cuda",
    ],
    &["anylora-nn"],
    &["anylora-models"],
    &["anylora-train", "anylora-generate"],
    &["anylora", "anylora-web", "anylora-tests", "anylora-benches"],
];

/// The one arrow within a layer: a checkpoint may hold quantized tensors.
const SIDEWAYS: (&str, &str) = ("anylora-checkpoint", "anylora-quant");

/// Who may name what a device is programmed with, beside the top layer.
const OWNERS: [(&str, &[&str]); 4] = [
    ("wgpu", &["anylora-engine-wgpu"]),
    ("burn", &["anylora-engine-burn"]),
    ("cudarc", &["anylora-engine-cuda"]),
    ("naga", &["anylora-shaders"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Every crate of the workspace with what its own code (not its tests) depends on.
fn crates() -> Vec<(String, Vec<String>)> {
    let metadata = cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
    let dependencies = |package: &Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"] != "dev")
            .map(name)
            .collect()
    };
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (name(package), dependencies(package)))
        .collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn arrows_point_down() {
    let crates = crates();
    assert!(crates.len() > 10, "{crates:?}");
    for (name, dependencies) in crates {
        let from = layer(&name).unwrap_or_else(|| panic!("{name} has no place in LAYERS"));
        for dependency in dependencies {
            let Some(to) = layer(&dependency) else { continue };
            let down = to < from || (name.as_str(), dependency.as_str()) == SIDEWAYS;
            assert!(down, "{name} depends on {dependency}, which is not below it");
            let engine = LAYERS[2].contains(&dependency.as_str());
            assert!(
                !engine || from + 1 == LAYERS.len(),
                "{name} names an engine: {dependency}"
            );
        }
    }
}

#[test]
fn devices_are_named_by_their_engines_only() {
    for (name, dependencies) in crates() {
        if layer(&name) == Some(LAYERS.len() - 1) {
            continue;
        }
        for (api, owners) in OWNERS {
            let named = dependencies
                .iter()
                .find(|dependency| dependency.split('-').next() == Some(api));
            assert!(
                named.is_none() || owners.contains(&name.as_str()),
                "{name} names {named:?}, which only {owners:?} may"
            );
        }
    }
}

#[test]
fn the_browser_pulls_in_no_burn() {
    for package in ["anylora-engine-wgpu", "anylora-web"] {
        let tree = cargo(&["tree", "--offline", "--prefix", "none", "-p", package]);
        assert!(tree.lines().any(|line| line.starts_with("wgpu ")), "{tree}");
        let burn: Vec<&str> = tree.lines().filter(|line| line.contains("burn")).collect();
        assert!(burn.is_empty(), "{package}: {burn:?}");
    }
}

#[test]
fn libraries_do_not_print() {
    let mut found = Vec::new();
    for library in fs::read_dir(root().join("crates")).unwrap() {
        sources(&library.unwrap().path().join("src"), &mut found);
    }
    let macros = ["print!(", "println!(", "dbg!("];
    let mut wrong = Vec::new();
    for path in found {
        for (number, line) in fs::read_to_string(&path).unwrap().lines().enumerate() {
            let code = line.trim_start();
            if !code.starts_with("//") && macros.iter().any(|name| code.contains(name)) {
                wrong.push(format!("{}:{}: {code}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Longer files are split by meaning.
const MAX_LINES: usize = 400;

/// Names that say nothing of what a file holds.
const VAGUE: [&str; 5] = ["utils", "util", "helpers", "manager", "base"];

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    let mut found = Vec::new();
    for folder in ["benches", "cli", "crates", "cuda", "shaders", "tests", "web/src"] {
        sources(&root().join(folder), &mut found);
    }
    assert!(found.len() > 100, "{}", found.len());
    let mut wrong = Vec::new();
    for path in &found {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        let vague = VAGUE
            .iter()
            .any(|name| path.file_stem().is_some_and(|stem| stem == *name));
        if lines > MAX_LINES || vague {
            wrong.push(format!("{}: {lines} lines", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// All files of Rust, WGSL and CUDA C++ under a folder.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| {
            ["rs", "wgsl", "cu", "cuh", "h"]
                .iter()
                .any(|known| extension == *known)
        }) {
            found.push(path);
        }
    }
}
