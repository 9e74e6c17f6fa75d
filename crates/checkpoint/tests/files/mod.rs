//! The tiny models as files in memory, and ways to change them.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

pub mod gguf;

use std::path::PathBuf;

use anylora_checkpoint::{FileBytes, Files};
use serde_json::{Map, Value, json};

pub fn tiny(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tiny");
    PathBuf::from(root).join(name)
}

pub fn tiny_files(name: &str) -> Files {
    let entries = std::fs::read_dir(tiny(name)).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().unwrap().is_file())
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).unwrap();
            (entry.file_name().into_string().unwrap(), FileBytes::from(bytes))
        })
        .collect()
}

/// Replaces the one place of a text in a file.
pub fn edit_text(files: &mut Files, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[file].to_vec()).unwrap();
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    files.insert(file.into(), text.replace(from, to).into_bytes().into());
}

/// A safetensors file of tensors (name, dtype, shape, bytes).
pub fn safetensors(tensors: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
    let (mut header, mut data) = (Map::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert((*name).into(), entry);
        data.extend_from_slice(bytes);
    }
    with_header(&header, &data)
}

/// A safetensors file of a header and the bytes that follow it.
pub fn with_header(header: &Map<String, Value>, data: &[u8]) -> Vec<u8> {
    let header = serde_json::to_vec(header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()
}

/// The header and data of a safetensors file.
pub fn split(bytes: &[u8]) -> (Map<String, Value>, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, bytes[8 + length..].to_vec())
}

/// Changes the bytes of a tensor of model.safetensors, not their number.
pub fn edit_tensor(files: &mut Files, name: &str, edit: impl FnOnce(&mut [u8])) {
    let (header, mut data) = split(&files["model.safetensors"]);
    let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    edit(&mut data[at(0)..at(1)]);
    files.insert("model.safetensors".into(), with_header(&header, &data).into());
}

/// Replaces a text by one of the same length in a tensor that holds JSON.
pub fn edit_json(files: &mut Files, name: &str, from: &str, to: &str) {
    edit_tensor(files, name, |bytes| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(text.contains(from), "{from} in {text}");
        bytes.copy_from_slice(text.replace(from, to).as_bytes());
    });
}

/// Renames a tensor of model.safetensors.
pub fn rename(files: &mut Files, from: &str, to: &str) {
    let (mut header, data) = split(&files["model.safetensors"]);
    let entry = header.remove(from).unwrap();
    header.insert(to.into(), entry);
    files.insert("model.safetensors".into(), with_header(&header, &data).into());
}
