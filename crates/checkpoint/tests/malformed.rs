//! Bad folders: every bad place is named, with what was expected and found.

mod files;

use anylora_checkpoint::{Adapter, Checkpoint, CheckpointError, Files};
use files::{edit_text, split, tiny_files, with_header};
use serde_json::{Map, Value, json};

/// The error of tiny-llama with another model.safetensors.
fn with_weights(bytes: Vec<u8>) -> String {
    let mut files = tiny_files("tiny-llama");
    files.insert("model.safetensors".into(), bytes.into());
    message(files)
}

#[expect(clippy::unwrap_used, reason = "test code outside of a test function")]
fn message(files: Files) -> String {
    let error = Checkpoint::from_files(files).unwrap_err();
    assert!(matches!(error, CheckpointError::Malformed(_)), "{error}");
    assert!(error.hint().is_some());
    error.to_string()
}

/// The error of tiny-llama with an edited header.
fn with_edit(edit: impl FnOnce(&mut Map<String, Value>)) -> String {
    let (mut header, data) = split(&tiny_files("tiny-llama")["model.safetensors"]);
    edit(&mut header);
    with_weights(with_header(&header, &data))
}

fn contains(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part} in {error}");
    }
}

const NORM: &str = "model.norm.weight";
const EMBEDDING: &str = "model.embed_tokens.weight";

#[test]
fn truncated_files() {
    let whole = tiny_files("tiny-llama")["model.safetensors"].to_vec();
    contains(
        &with_weights(Vec::new()),
        &["header length: expected 8 bytes, found 0 bytes in all"],
    );
    contains(
        &with_weights(whole[..100].to_vec()),
        &["model.safetensors: header length: expected at most 92 bytes"],
    );
    let error = with_weights(whole[..whole.len() - 1].to_vec());
    contains(
        &error,
        &["tensor `model.norm.weight`: expected `data_offsets` in ascending order within"],
    );
    let longer = [whole, vec![0; 3]].concat();
    contains(
        &with_weights(longer),
        &["length: expected 1640960 bytes of tensors after the header, found 1640963"],
    );
}

#[test]
fn absurd_header_lengths() {
    for length in [u64::MAX, 1 << 40, 100_000_001] {
        let mut bytes = tiny_files("tiny-llama")["model.safetensors"].to_vec();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        contains(
            &with_weights(bytes),
            &["header length: expected at most", &format!("found {length}")],
        );
    }
    let zeros = [&8u64.to_le_bytes()[..], &[0; 8]].concat();
    contains(
        &with_weights(zeros),
        &["model.safetensors: line 1, column 1: expected JSON"],
    );
    let list = [&2u64.to_le_bytes()[..], b"[]"].concat();
    contains(&with_weights(list), &["an object of tensors by name"]);
}

#[test]
fn all_bad_tensors_are_listed_at_once() {
    let error = with_edit(|header| {
        header[NORM]["dtype"] = json!("F33");
        header[EMBEDDING]["shape"] = json!([512, 127]);
        header["model.layers.0.input_layernorm.weight"]["shape"] = json!([1u64 << 62, 1u64 << 62]);
        header["model.layers.1.input_layernorm.weight"]["data_offsets"] = json!([5, 4]);
        header["model.layers.0.mlp.up_proj.weight"] =
            json!({"dtype": "F32", "shape": [-1], "data_offsets": [0]});
        header["model.layers.0.mlp.gate_proj.weight"] = json!(7);
        header["model.layers.0.mlp.down_proj.weight"]["data_offsets"] = json!([0]);
    });
    contains(
        &error,
        &[
            "7 problems",
            "tensor `model.norm.weight`: expected a `dtype` of the safetensors format, such as \"F32\" or \"BF16\", found \"F33\"",
            "tensor `model.embed_tokens.weight`: expected 260096 bytes for F32 [512, 127], found 262144 bytes",
            "a shape that memory can hold, not [4611686018427387904, 4611686018427387904]",
            "found [5, 4]",
            "tensor `model.layers.0.mlp.up_proj.weight`: expected a `shape` of whole numbers",
            "tensor `model.layers.0.mlp.gate_proj.weight`: expected a `dtype`",
            "tensor `model.layers.0.mlp.down_proj.weight`: expected two `data_offsets`",
        ],
    );
}

#[test]
fn overlapping_and_missing_bytes() {
    let error = with_edit(|header| {
        let size = 128 * 4;
        let end = header[NORM]["data_offsets"][1].as_u64().unwrap_or_default();
        header[NORM]["data_offsets"] = json!([end - size - 4, end - 4]);
    });
    contains(
        &error,
        &[
            "tensor `model.norm.weight`: expected its first byte at 1640448, where",
            "found 1640444",
        ],
    );
    let error = with_edit(|header| {
        header.remove("model.layers.1.input_layernorm.weight");
    });
    contains(&error, &["expected its first byte at", "found"]);
}

#[test]
fn a_name_that_comes_twice() {
    let entry = |at: usize| {
        format!(
            r#""x": {{"dtype": "U8", "shape": [1], "data_offsets": [{at}, {}]}}"#,
            at + 1
        )
    };
    let header = format!("{{{}, {}}}", entry(0), entry(1));
    let bytes = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[1, 2],
    ]
    .concat();
    contains(
        &with_weights(bytes),
        &["tensor `x`: expected one entry, found two"],
    );
}

/// tiny-llama in two shards with an index.
fn sharded() -> Files {
    let mut files = tiny_files("tiny-llama");
    let (header, data) = split(&files["model.safetensors"]);
    files.remove("model.safetensors");
    let names: Vec<_> = header
        .keys()
        .filter(|name| *name != "__metadata__")
        .cloned()
        .collect();
    let mut weight_map = Map::new();
    for (i, names) in names.chunks(names.len().div_ceil(2)).enumerate() {
        let shard = format!("model-0000{}-of-00002.safetensors", i + 1);
        let tensors: Vec<_> = names
            .iter()
            .map(|name| {
                let shape: Vec<usize> =
                    serde_json::from_value(header[name]["shape"].clone()).unwrap_or_default();
                let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap_or_default() as usize;
                (name.as_str(), shape, &data[at(0)..at(1)])
            })
            .collect();
        let tensors: Vec<_> = tensors
            .iter()
            .map(|(name, shape, data)| (*name, "F32", &shape[..], *data))
            .collect();
        files.insert(shard.clone(), files::safetensors(&tensors).into());
        weight_map.extend(names.iter().map(|name| (name.clone(), json!(shard))));
    }
    let index = json!({"metadata": {}, "weight_map": weight_map}).to_string();
    files.insert("model.safetensors.index.json".into(), index.into_bytes().into());
    files
}

#[test]
fn shards_read_as_one_and_missing_ones_are_listed() {
    let whole = Checkpoint::from_files(tiny_files("tiny-llama")).unwrap();
    let checkpoint = Checkpoint::from_files(sharded()).unwrap();
    assert!(checkpoint.names().eq(whole.names()));
    assert!(
        checkpoint
            .names()
            .all(|name| checkpoint.read(name).unwrap() == whole.read(name).unwrap())
    );

    let mut files = sharded();
    files.remove("model.safetensors.index.json");
    assert!(
        Checkpoint::from_files(files.clone())
            .unwrap()
            .names()
            .eq(whole.names()),
        "shards without an index"
    );
    files.remove("model-00002-of-00002.safetensors");
    contains(
        &message(files),
        &["model-00002-of-00002.safetensors: file: expected this shard in the folder, found no"],
    );

    let mut files = sharded();
    files.retain(|name, _| !name.starts_with("model-"));
    contains(
        &message(files),
        &[
            "2 problems",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ],
    );

    let mut files = sharded();
    files.retain(|name, _| !name.starts_with("model"));
    contains(
        &message(files),
        &["model.safetensors: file: expected the model's weights in safetensors, found none"],
    );

    let mut files = sharded();
    let second = files["model-00002-of-00002.safetensors"].clone();
    files.insert("model-00001-of-00002.safetensors".into(), second);
    contains(
        &message(files),
        &[
            "10 problems",
            "expected it in one shard, found it in model-00001-of-00002.safetensors too",
        ],
    );

    let mut files = sharded();
    edit_text(
        &mut files,
        "model.safetensors.index.json",
        r#""model.norm.weight":"model-00002"#,
        r#""model.norm.weight":"model-00001"#,
    );
    contains(
        &message(files),
        &[
            "model-00001-of-00002.safetensors: tensor `model.norm.weight`: expected it here, as the index has it",
        ],
    );

    let mut files = sharded();
    edit_text(
        &mut files,
        "model.safetensors.index.json",
        r#""model.norm.weight":"model-00002"#,
        r#""model.norm.weight":"../model-00002"#,
    );
    contains(
        &message(files),
        &["expected the name of a file in the same folder"],
    );
}

#[test]
fn types_that_no_weight_has_are_listed_and_not_read() {
    let mut files = tiny_files("tiny-llama");
    let weights = files::safetensors(&[("position_ids", "I64", &[1], &[0; 8])]);
    files.insert("model.safetensors".into(), weights.into());
    let checkpoint = Checkpoint::from_files(files).unwrap();
    assert_eq!(checkpoint.info("position_ids").unwrap().format.to_string(), "I64");
    let error = checkpoint.read("position_ids").unwrap_err().to_string();
    contains(
        &error,
        &["not supported: model.safetensors: tensor `position_ids`: expected F32, F16 or BF16, found I64"],
    );
}

#[test]
fn json_files_that_are_none() {
    for file in ["config.json", "generation_config.json", "tokenizer_config.json"] {
        let mut files = tiny_files("tiny-llama");
        files.insert(file.into(), b"{\n  \"a\": tru\n}".to_vec().into());
        contains(
            &message(files.clone()),
            &[&format!(
                "{file}: line 3, column 0: expected JSON, found expected ident"
            )],
        );
        files.insert(file.into(), b"[1]".to_vec().into());
        contains(
            &message(files),
            &[&format!(
                "{file}: top level: expected an object, found a list of 1"
            )],
        );
    }
    let mut files = tiny_files("tiny-llama");
    files.insert("chat_template.jinja".into(), vec![b'a', 0xff].into());
    contains(&message(files), &["chat_template.jinja: byte 1: expected UTF-8"]);
    let error = Adapter::from_bytes(b"{", b"").unwrap_err().to_string();
    contains(&error, &["adapter_config.json: line 1, column 1: expected JSON"]);
}
