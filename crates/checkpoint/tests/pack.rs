//! Packs that are written: parts of a bounded size that load like any folder, whole or not there.
#![allow(clippy::unwrap_used, reason = "test code outside of test functions")]

mod files;

use std::path::Path;

use anylora_checkpoint::{
    Checkpoint, CheckpointError, FileBytes, Files, FloatType, PackManifest, PackQuantization, PackTensor,
    PackWriter, Values,
};
use files::tiny;
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

/// A tiny model as it is, in shards of at most `max_bytes`, bytes handed over in uneven pieces.
fn write(path: &Path, model: &str, max_bytes: usize) -> PackManifest {
    let checkpoint = Checkpoint::open(&tiny(model)).unwrap();
    let tensors = checkpoint.names().map(|name| {
        let info = checkpoint.info(name).unwrap();
        PackTensor::floats(name, FloatType::F32, &info.shape)
    });
    let mut writer = PackWriter::with_shards_of(path, tensors.collect(), max_bytes).unwrap();
    for name in checkpoint.names() {
        let Values::Dense { bytes, .. } = checkpoint.read(name).unwrap().values else {
            panic!("{name} is quantized");
        };
        bytes.chunks(1001).for_each(|piece| writer.write(piece).unwrap());
    }
    for (name, bytes) in checkpoint.side_files(FloatType::F32) {
        writer.add_file(&name, &bytes).unwrap();
    }
    writer.finish("Tiny", PackQuantization::None).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_model_goes_through_parts_of_any_size_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(&tiny("tiny-llama")).unwrap();
    // The embedding alone has 262,144 bytes: split in two and more from the second on.
    for max_bytes in [usize::MAX, 200_000, 30_000, 12_000] {
        let path = folder.path().join(max_bytes.to_string());
        let manifest = write(&path, "tiny-llama", max_bytes);
        let stored = std::fs::read(path.join("manifest.json")).unwrap();
        assert_eq!(PackManifest::from_json(&stored).unwrap(), manifest);
        let mut listed: Vec<_> = manifest.parts().map(|part| part.path.clone()).collect();
        listed.push("manifest.json".into());
        listed.sort();
        assert_eq!(names(&path), listed);
        for part in manifest.parts() {
            let bytes = std::fs::read(path.join(&part.path)).unwrap();
            assert_eq!(bytes.len() as u64, part.bytes);
            assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), part.sha256);
        }
        for shard in &manifest.shards {
            assert!(shard.bytes <= max_bytes as u64, "{shard:?}");
            SafeTensors::deserialize(&std::fs::read(path.join(&shard.path)).unwrap()).unwrap();
        }
        let written = Checkpoint::open(&path).unwrap();
        assert!(written.names().eq(original.names()));
        for name in original.names() {
            assert_eq!(written.info(name).unwrap(), original.info(name).unwrap());
            assert_eq!(
                written.read(name).unwrap(),
                original.read(name).unwrap(),
                "{name}"
            );
        }
    }
    let shards = |max_bytes: usize| names(&folder.path().join(max_bytes.to_string())).len();
    assert!(shards(12_000) > 80, "{}", shards(12_000));
}

#[test]
fn a_row_must_fit_into_a_shard() {
    let folder = tempfile::tempdir().unwrap();
    let tensors = vec![
        PackTensor::floats("wide", FloatType::F32, &[2, 1000]),
        PackTensor::floats("narrow", FloatType::F32, &[2000, 2]),
    ];
    let error = PackWriter::with_shards_of(&folder.path().join("pack"), tensors, 2000).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("tensor `wide`: expected rows of at most 2000 bytes, found F32 [2, 1000]"),
        "{error}"
    );
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_pack_replaces_a_pack_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack");
    write(&path, "tiny-llama", 50_000);
    let many = names(&path);
    write(&path, "tiny-llama", usize::MAX);
    assert!(names(&path).len() < many.len());
    assert_eq!(names(folder.path()), ["pack"]);

    // A file that is not the pack's is the user's.
    std::fs::write(path.join("notes.txt"), "mine").unwrap();
    let error = PackWriter::create(&path, Vec::new()).unwrap_err();
    assert!(
        matches!(&error, CheckpointError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists),
        "{error}"
    );
    assert_eq!(std::fs::read(path.join("notes.txt")).unwrap(), b"mine");
}

#[test]
fn an_unfinished_pack_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pack");
    let manifest = write(&path, "tiny-llama", usize::MAX);
    let tensors = vec![PackTensor::bytes("a", &[8])];
    let mut writer = PackWriter::create(&path, tensors.clone()).unwrap();
    writer.write(&[0; 7]).unwrap();
    let error = writer
        .finish("Half", PackQuantization::None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected all of their bytes, found 1 bytes less"),
        "{error}"
    );

    let mut writer = PackWriter::create(&path, tensors).unwrap();
    let error = writer.write(&[0; 9]).unwrap_err().to_string();
    assert!(error.contains("found 1 more bytes"), "{error}");
    // Whole, and yet no pack: it has no config.json and no tokenizer.json.
    let error = writer
        .finish("Bare", PackQuantization::None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("expected config.json, found no such part"),
        "{error}"
    );

    let stored = std::fs::read(path.join("manifest.json")).unwrap();
    assert_eq!(PackManifest::from_json(&stored).unwrap(), manifest);
    assert_eq!(names(folder.path()), ["pack"]);
}

/// tiny-llama's side files, and one shard with these tensors (name, dtype, shape) beside its own.
fn with_parts(parts: &[(&str, &str, &[usize])]) -> Files {
    let mut files = files::tiny_files("tiny-llama");
    let size = |dtype: &str| if dtype == "F32" { 4 } else { 2 };
    let bytes: Vec<Vec<u8>> = parts
        .iter()
        .map(|(_, dtype, shape)| vec![0; shape.iter().product::<usize>() * size(dtype)])
        .collect();
    let tensors: Vec<_> = parts
        .iter()
        .zip(&bytes)
        .map(|((name, dtype, shape), bytes)| (*name, *dtype, *shape, bytes.as_slice()))
        .collect();
    files.insert(
        "model.safetensors".into(),
        FileBytes::from(files::safetensors(&tensors)),
    );
    files
}

#[test]
fn parts_that_do_not_fit_each_other_are_named() {
    let whole = Checkpoint::from_files(with_parts(&[
        ("x.part-00002-of-00002", "F32", &[1, 3]),
        ("x.part-00001-of-00002", "F32", &[4, 3]),
    ]));
    assert_eq!(whole.unwrap().info("x").unwrap().shape, [5, 3]);
    type Part = (&'static str, &'static str, &'static [usize]);
    let bad: [(&[Part], &str); 6] = [
        (
            &[("x.part-00001-of-00002", "F32", &[1])],
            "expected 2 parts of one type and row, numbered from 1, found 1 parts",
        ),
        (&[("x.part-00000-of-00000", "F32", &[1])], "found 1 parts"),
        (
            &[
                ("x.part-00001-of-00002", "F32", &[1]),
                ("x.part-00002-of-00003", "F32", &[1]),
            ],
            "found 2 parts",
        ),
        (
            &[
                ("x.part-00001-of-00002", "F32", &[1, 2]),
                ("x.part-00002-of-00002", "F32", &[1, 3]),
            ],
            "found parts of several",
        ),
        (
            &[
                ("x.part-00001-of-00002", "F32", &[1]),
                ("x.part-00002-of-00002", "F16", &[1]),
            ],
            "found parts of several",
        ),
        (
            &[("x.part-00001-of-00001", "F32", &[1]), ("x", "F32", &[1])],
            "found both",
        ),
    ];
    for (parts, expected) in bad {
        let error = Checkpoint::from_files(with_parts(parts)).unwrap_err().to_string();
        assert!(
            error.contains("tensor `x`") && error.contains(expected),
            "{error}"
        );
    }
}
