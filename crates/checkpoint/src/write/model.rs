//! A model's folder, written tensor by tensor: shards, their index, and the files beside them.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::safetensors::{SafetensorsWriter, TensorSpec};
use crate::{CheckpointError, Result};

/// Writes a Hugging Face model folder, which appears under its name when it is finished. One tensor's values are in
/// memory at a time.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use anylora_checkpoint::{FloatType, ModelWriter, TensorSpec};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("merged");
/// let spec = TensorSpec { name: "lm_head.weight".into(), dtype: FloatType::BF16, shape: vec![2, 3] };
/// let mut writer = ModelWriter::create(&path, vec![spec], 5_000_000_000)?;
/// writer.write("lm_head.weight", &[0.5; 6])?;
/// writer.add_file("config.json", b"{}")?;
/// writer.finish()?;
/// assert!(path.join("model.safetensors").is_file());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ModelWriter {
    path: PathBuf,
    temporary: TempDir,
    /// Shards that are not started yet, last one first: file name and tensors.
    pending: Vec<(String, Vec<TensorSpec>)>,
    current: Option<SafetensorsWriter<BufWriter<File>>>,
    /// File by tensor, where there are several files.
    weight_map: Map<String, Value>,
    total_size: usize,
}

impl ModelWriter {
    /// Starts a folder at `path`, where there must be nothing or an empty folder. Tensors will come in the order of
    /// `specs`; a file gets as many of them as fit into `max_shard_bytes`, and at least one.
    ///
    /// # Errors
    /// [`CheckpointError::Io`], with `AlreadyExists` where `path` holds something.
    pub fn create(path: &Path, specs: Vec<TensorSpec>, max_shard_bytes: usize) -> Result<Self> {
        let is_taken = match std::fs::read_dir(path) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => path.exists(),
        };
        if is_taken {
            return Err(CheckpointError::io(path)(
                std::io::ErrorKind::AlreadyExists.into(),
            ));
        }
        let total_size = specs.iter().map(TensorSpec::bytes).sum();
        let shards = split(specs, max_shard_bytes);
        let count = shards.len();
        let mut weight_map = Map::new();
        let mut pending = Vec::new();
        for (i, specs) in shards.into_iter().enumerate() {
            let name = match count {
                1 => "model.safetensors".to_string(),
                _ => format!("model-{:05}-of-{count:05}.safetensors", i + 1),
            };
            if count > 1 {
                weight_map.extend(specs.iter().map(|spec| (spec.name.clone(), json!(name))));
            }
            pending.push((name, specs));
        }
        pending.reverse();
        let mut writer = Self {
            path: path.into(),
            temporary: super::temporary_folder(path)?,
            pending,
            current: None,
            weight_map,
            total_size,
        };
        writer.next_shard()?;
        Ok(writer)
    }

    /// Writes the next values of tensor `name`, rounded to its type.
    ///
    /// # Errors
    /// Those of [`SafetensorsWriter::write`].
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let Some(shard) = &mut self.current else {
            let file = self.path.display().to_string();
            let place = format!("tensor `{name}`");
            return Err(CheckpointError::malformed(&file, place, "no more tensors", "one"));
        };
        shard.write(name, values)?;
        if shard.is_complete() && !self.pending.is_empty() {
            self.next_shard()?;
        }
        Ok(())
    }

    /// Adds a file beside the weights, such as config.json.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn add_file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        super::folder(self.temporary.path(), &[(name, bytes)])
    }

    /// Brings everything to the disk and gives the folder its name.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every tensor of the started file that was not written whole, or the files
    /// that were not started; [`CheckpointError::Io`].
    pub fn finish(mut self) -> Result<()> {
        self.finish_shard()?;
        if let Some((name, _)) = self.pending.last() {
            return Err(CheckpointError::malformed(
                name,
                "file",
                "its tensors to be written",
                "none of them",
            ));
        }
        if !self.weight_map.is_empty() {
            let map = std::mem::take(&mut self.weight_map);
            let index = json!({"metadata": {"total_size": self.total_size}, "weight_map": map});
            self.add_file("model.safetensors.index.json", format!("{index:#}\n").as_bytes())?;
        }
        super::appear(self.temporary, &self.path)
    }

    fn finish_shard(&mut self) -> Result<()> {
        let Some(shard) = self.current.take() else {
            return Ok(());
        };
        let out = shard.finish()?;
        out.get_ref().sync_all().map_err(CheckpointError::io(&self.path))
    }

    fn next_shard(&mut self) -> Result<()> {
        self.finish_shard()?;
        if let Some((name, specs)) = self.pending.pop() {
            let path = self.temporary.path().join(name);
            let file = File::create(&path).map_err(CheckpointError::io(&path))?;
            self.current = Some(SafetensorsWriter::new(BufWriter::new(file), &path, specs)?);
        }
        Ok(())
    }
}

/// Consecutive tensors by file.
fn split(specs: Vec<TensorSpec>, max_shard_bytes: usize) -> Vec<Vec<TensorSpec>> {
    let mut shards = vec![Vec::new()];
    let mut bytes = 0;
    for spec in specs {
        let last = shards.len() - 1;
        if bytes + spec.bytes() > max_shard_bytes && !shards[last].is_empty() {
            shards.push(vec![spec]);
            bytes = 0;
        } else {
            shards[last].push(spec);
        }
        let added = shards.last().and_then(|shard| shard.last());
        bytes += added.map_or(0, TensorSpec::bytes);
    }
    shards
}
