//! manifest.json: what is written is read, and every bad manifest says what is wrong with it.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

use anylora_checkpoint::{CheckpointError, MAX_PART_BYTES, PackManifest, PackPart, PackQuantization};
use serde_json::{Value, json};

fn part(path: &str, bytes: u64) -> PackPart {
    PackPart {
        path: path.into(),
        bytes,
        sha256: std::array::from_fn(|i| i as u8 * 7),
    }
}

fn manifest() -> PackManifest {
    PackManifest::new(
        "SmolLM2-135M-Instruct",
        PackQuantization::Nf4,
        vec![part("config.json", 700), part("tokenizer.json", 2_000_000)],
        vec![part("model.safetensors", MAX_PART_BYTES)],
    )
    .unwrap()
}

/// What is said of a manifest that was changed.
fn error(edit: impl FnOnce(&mut Value)) -> String {
    let mut value = serde_json::from_str(&manifest().to_json()).unwrap();
    edit(&mut value);
    let bytes = serde_json::to_vec(&value).unwrap();
    PackManifest::from_json(&bytes).unwrap_err().to_string()
}

#[test]
fn a_manifest_goes_there_and_back() {
    let written = manifest();
    assert_eq!(written.total_bytes(), 2_000_700 + MAX_PART_BYTES);
    let text = written.to_json();
    assert!(text.contains("\"format\": \"anylora-pack\""), "{text}");
    assert!(text.contains("\"sha256\": \"00070e15"), "{text}");
    assert_eq!(PackManifest::from_json(text.as_bytes()).unwrap(), written);
}

#[test]
fn another_version_says_what_to_do() {
    let mut value: Value = serde_json::from_str(&manifest().to_json()).unwrap();
    value["version"] = json!(2);
    let error = PackManifest::from_json(&serde_json::to_vec(&value).unwrap()).unwrap_err();
    assert!(matches!(error, CheckpointError::Unsupported { .. }), "{error}");
    assert!(
        error.to_string().contains("`version`: expected 1, found 2"),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("anylora pack"));
}

#[test]
fn names_stay_in_the_folder() {
    for path in [
        "",
        "../config.json",
        "a/b",
        "a\\b",
        "https://example.org/x",
        ".hidden",
        "x.",
        "a b",
        "MANIFEST.json",
        "a%2fb",
        "é.json",
    ] {
        let found = error(|value| value["files"][0]["path"] = json!(path));
        assert!(
            found.contains("`files[0].path`: expected a plain file name"),
            "{path}: {found}"
        );
    }
}

#[test]
fn lengths_hashes_and_sums_are_checked() {
    for bytes in [
        json!(0),
        json!(-1),
        json!(MAX_PART_BYTES + 1),
        json!(1.5),
        json!("7"),
        json!(u64::MAX),
    ] {
        let found = error(|value| value["shards"][0]["bytes"] = bytes.clone());
        assert!(
            found.contains("`shards[0].bytes`: expected a length"),
            "{bytes}: {found}"
        );
    }
    for sha256 in ["", "00", &"g".repeat(64), &"A".repeat(64), &"0".repeat(65)] {
        let found = error(|value| value["shards"][0]["sha256"] = json!(sha256));
        assert!(found.contains("hexadecimal digits"), "{sha256}: {found}");
    }
    let found = error(|value| value["total_bytes"] = json!(1));
    assert!(
        found.contains("expected 69109564, the sum of all parts, found 1"),
        "{found}"
    );
}

#[test]
fn parts_come_once_and_the_needed_ones_are_there() {
    let found = error(|value| value["files"][1]["path"] = json!("Config.json"));
    assert!(
        found.contains("part `Config.json`: expected every part once"),
        "{found}"
    );
    let found = error(|value| value["files"][1]["path"] = json!("vocab.json"));
    assert!(
        found.contains("`files`: expected tokenizer.json, found no such part"),
        "{found}"
    );
    let found = error(|value| value["shards"] = json!([]));
    assert!(
        found.contains("`shards`: expected at least one, found none"),
        "{found}"
    );
    let found = error(|value| value["shards"][0]["path"] = json!("model.bin"));
    assert!(found.contains("to end with .safetensors"), "{found}");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let found = error(|value| {
        value["name"] = json!("a\nb");
        value["quantization"] = json!("int8");
        value["files"] = json!({});
        value["shards"][0] = json!(7);
    });
    for place in [
        "`name`",
        "`quantization`",
        "`files`",
        "`shards[0].path`",
        "`shards[0].bytes`",
    ] {
        assert!(found.contains(place), "{place}: {found}");
    }
    for bytes in ["", "[]", "{", "{\"format\": \"gguf\"}"] {
        assert!(PackManifest::from_json(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
}
