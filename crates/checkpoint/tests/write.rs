//! Files and folders that are written: whole or not at all, readable by the safetensors crate.

mod files;

use std::io::Write;

use anylora_checkpoint::{
    Checkpoint, CheckpointError, FloatType, ModelWriter, SafetensorsWriter, TensorSpec, write_atomically,
};
use files::tiny;
use safetensors::SafeTensors;

fn spec(name: &str, dtype: FloatType, shape: &[usize]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.into(),
    }
}

#[test]
fn a_model_goes_through_shards_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let original = Checkpoint::open(&tiny("tiny-qwen2")).unwrap();
    for (dtype, max_shard_bytes, shards) in [
        (FloatType::F32, usize::MAX, 1),
        (FloatType::F32, 400_000, 5),
        (FloatType::BF16, 1, 26),
    ] {
        let path = folder.path().join(format!("{dtype}-{shards}"));
        let specs = original
            .names()
            .map(|name| spec(name, dtype, &original.info(name).unwrap().shape));
        let mut writer = ModelWriter::create(&path, specs.collect(), max_shard_bytes).unwrap();
        assert!(!path.exists(), "the folder appears when it is whole");
        for name in original.names() {
            let values = original.read(name).unwrap().to_f32();
            // In two parts.
            let (head, tail) = values.split_at(values.len() / 3);
            writer.write(name, head).unwrap();
            writer.write(name, tail).unwrap();
        }
        let config = std::fs::read(tiny("tiny-qwen2").join("config.json")).unwrap();
        writer.add_file("config.json", &config).unwrap();
        writer.finish().unwrap();

        let files: Vec<_> = std::fs::read_dir(&path)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let weights: Vec<_> = files
            .iter()
            .filter(|file| file.extension().unwrap() == "safetensors")
            .collect();
        assert_eq!(weights.len(), shards);
        for file in weights {
            SafeTensors::deserialize(&std::fs::read(file).unwrap()).unwrap();
        }
        let written = Checkpoint::open(&path).unwrap();
        assert!(written.names().eq(original.names()));
        for name in original.names() {
            let (ours, theirs) = (
                written.read(name).unwrap().to_f32(),
                original.read(name).unwrap().to_f32(),
            );
            let expected: Vec<f32> = match dtype {
                FloatType::F32 => theirs,
                _ => theirs
                    .iter()
                    .map(|value| half::bf16::from_f32(*value).to_f32())
                    .collect(),
            };
            assert_eq!(ours, expected, "{name}");
        }
    }
}

#[test]
fn an_unfinished_model_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("merged");
    let specs = vec![
        spec("a", FloatType::F16, &[2]),
        spec("b", FloatType::F16, &[0, 3]),
        spec("c", FloatType::F16, &[2]),
    ];
    let mut writer = ModelWriter::create(&path, specs.clone(), usize::MAX).unwrap();
    writer.write("a", &[1.0, 2.0]).unwrap();
    writer.write("b", &[]).unwrap();
    let error = writer.write("a", &[1.0]).unwrap_err().to_string();
    assert!(error.contains("expected c next"), "{error}");
    let error = writer.write("c", &[1.0; 3]).unwrap_err().to_string();
    assert!(error.contains("expected 2 more values, found 3"), "{error}");
    let error = writer.write("c", &[7e4]).unwrap_err().to_string();
    assert!(error.contains("within F16's range, found 70000"), "{error}");
    let error = writer.finish().unwrap_err().to_string();
    assert!(
        error.contains("tensor `c`: expected it to be written whole"),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);

    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("kept"), "").unwrap();
    let error = ModelWriter::create(&path, specs, usize::MAX).unwrap_err();
    assert!(
        matches!(error, CheckpointError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists)
    );
}

#[test]
fn a_failed_write_keeps_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    write_atomically(&path, |out| {
        out.write_all(b"old").unwrap();
        Ok(())
    })
    .unwrap();
    let result = write_atomically(&path, |out| {
        out.write_all(b"new, and too lon").unwrap();
        Err(CheckpointError::Io {
            path: "disk".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        })
    });
    assert!(result.is_err());
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_file_without_tensors_is_valid() {
    let writer = SafetensorsWriter::new(Vec::new(), "empty".as_ref(), Vec::new()).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(SafeTensors::deserialize(&bytes).unwrap().len(), 0);
}
