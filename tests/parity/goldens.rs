//! The reference's models and values, and how far ours are from them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anylora_checkpoint::Checkpoint;
use anylora_engine::{Backend, Tensor};
use anylora_models::{LoadOptions, Loader, Model};
use safetensors::SafeTensors;

/// The four families.
pub const TINY: [&str; 4] = ["tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3"];

pub fn folder(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/tiny")
        .join(model)
}

pub fn load<B: Backend>(backend: &B, model: &str, options: LoadOptions) -> Model<B> {
    let checkpoint = Checkpoint::open(&folder(model)).unwrap();
    Loader::load(backend, &checkpoint, options, |_, _| {}).unwrap()
}

/// The tensors of one file.
pub struct Goldens {
    floats: HashMap<String, Vec<f32>>,
    ids: HashMap<String, (Vec<usize>, Vec<u32>)>,
}

impl Goldens {
    /// A file of a tiny model's reference.
    pub fn open(model: &str, file: &str) -> Self {
        Self::read(&folder(model).join("reference").join(file))
    }

    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let mut goldens = Self {
            floats: HashMap::new(),
            ids: HashMap::new(),
        };
        for (name, view) in tensors.tensors() {
            if view.dtype() == safetensors::Dtype::I64 {
                let ids = view
                    .data()
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .map(|id| u32::try_from(i64::from_le_bytes(*id)).unwrap())
                    .collect();
                goldens.ids.insert(name, (view.shape().to_vec(), ids));
            } else {
                let values = view.data().as_chunks::<4>().0;
                let values = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
                goldens.floats.insert(name, values);
            }
        }
        goldens
    }

    pub fn floats(&self, name: &str) -> &[f32] {
        &self.floats[name]
    }

    /// Shape and values.
    pub fn ids(&self, name: &str) -> (&[usize], &[u32]) {
        let (shape, ids) = &self.ids[name];
        (shape, ids)
    }
}

/// The largest difference relative to the reference's largest value.
pub fn distance(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0f32, |max, value| max.max(value.abs()));
    let difference = found
        .iter()
        .zip(expected)
        .map(|(found, expected)| (found - expected).abs());
    difference.fold(
        0f32,
        |max, value| if value.is_nan() { f32::NAN } else { max.max(value) },
    ) / largest
}

pub fn values<B: Backend>(tensor: &Tensor<B>) -> Vec<f32> {
    pollster::block_on(tensor.to_f32()).unwrap()
}

/// The token with the largest logit.
pub fn argmax(logits: &[f32]) -> u32 {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    u32::try_from(best.unwrap()).unwrap()
}
