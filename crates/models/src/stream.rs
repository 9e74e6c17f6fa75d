//! A model out of safetensors files that arrive in pieces, as a browser downloads them.
//!
//! Pieces go to the device as they come: the host holds no tensor as a whole but norms, biases and what describes
//! 4-bit weights. Files may come in any order; tensors are named as in checkpoints, with bitsandbytes' parts of weights
//! in 4 bits ([`anylora_checkpoint::QuantPart`]), and a tensor that is cut by rows (`NAME.part-00001-of-00003`) comes
//! in the order of its parts.

mod quantized;
mod target;

use std::collections::BTreeMap;

use anylora_checkpoint::{
    ModelConfig, QuantPart, ShardReader, StoredTensor, TensorFormat, TensorPiece, Values, split_part,
};
use anylora_engine::{Backend, DType, Weight};

use self::quantized::Parts;
use self::target::Target;
use crate::load::Loaded;
use crate::{LoadOptions, Loader, Model, ModelError, Result, Role, TensorProblem, store};

/// A model in the making, from pieces of its files.
pub struct StreamLoader<B: Backend> {
    loader: Loader<B>,
    shard: Option<ShardReader>,
    arriving: Arriving<B>,
}

/// What is not whole yet.
struct Arriving<B: Backend> {
    backend: B,
    /// By the name of the whole tensor.
    targets: BTreeMap<String, Target<B>>,
    /// The parts of 4-bit weights that are whole, by the weight's name.
    quantized: BTreeMap<String, Parts<B>>,
}

impl<B: Backend> StreamLoader<B> {
    /// A model of this config without tensors yet, whose activations are of type `activation`.
    ///
    /// # Errors
    /// Those of [`Loader::new`].
    pub fn new(backend: &B, config: &ModelConfig, activation: DType) -> Result<Self> {
        let options = LoadOptions {
            activation,
            ..LoadOptions::default()
        };
        Ok(Self {
            loader: Loader::new(backend, config, options)?,
            shard: None,
            arriving: Arriving {
                backend: backend.clone(),
                targets: BTreeMap::new(),
                quantized: BTreeMap::new(),
            },
        })
    }

    /// Begins the next file, of `len` bytes; `file` names it in messages.
    ///
    /// # Errors
    /// [`anylora_checkpoint::CheckpointError::Malformed`] where the file before is not whole.
    pub fn begin(&mut self, file: &str, len: usize) -> Result<()> {
        self.end()?;
        self.shard = Some(ShardReader::new(file, len));
        Ok(())
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`anylora_checkpoint::CheckpointError`] for a file that is none; [`ModelError::Tensors`] for a tensor that the model
    /// doesn't have or that doesn't fit it; device errors.
    pub fn push(&mut self, piece: &[u8]) -> Result<()> {
        let (loader, arriving) = (&mut self.loader, &mut self.arriving);
        match &mut self.shard {
            Some(shard) => shard.push(piece, |piece| arriving.take(loader, &piece)),
            None if piece.is_empty() => Ok(()),
            None => Err(problem("pieces", "a file to begin first", "none")),
        }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// [`anylora_checkpoint::CheckpointError::Malformed`] where it is not whole.
    pub fn end(&mut self) -> Result<()> {
        Ok(self.shard.take().map_or(Ok(()), ShardReader::finish)?)
    }

    /// The model, once all files are there.
    ///
    /// # Errors
    /// Those of [`StreamLoader::end`]; [`ModelError::Tensors`] with every tensor that is missing or not whole.
    pub fn finish(mut self) -> Result<Model<B>> {
        self.end()?;
        let mut problems: Vec<_> = self.arriving.targets.values().map(Target::unfinished).collect();
        for (weight, parts) in std::mem::take(&mut self.arriving.quantized) {
            match parts.finish(&weight, linear_shape(&self.loader, &weight)) {
                Ok(nf4) => {
                    self.loader
                        .loaded
                        .insert(weight, Loaded::Weight(Weight::Nf4(nf4)));
                }
                Err(ModelError::Tensors(mut more)) => problems.append(&mut more),
                Err(error) => return Err(error),
            }
        }
        if problems.is_empty() {
            self.loader.finish()
        } else {
            Err(ModelError::Tensors(problems))
        }
    }
}

impl<B: Backend> Arriving<B> {
    /// Takes a piece of a tensor; what is whole with it goes where it belongs.
    fn take(&mut self, loader: &mut Loader<B>, piece: &TensorPiece<'_>) -> Result<()> {
        let (name, part) = match split_part(piece.name) {
            Some((name, number, count)) => (name, Some((number, count))),
            None => (piece.name, None),
        };
        if loader.is_ignored(name) {
            return Ok(());
        }
        if piece.offset == 0 {
            if !self.targets.contains_key(name) {
                let target = self.open(loader, name, piece)?;
                self.targets.insert(name.to_owned(), target);
            }
            if let Some(target) = self.targets.get_mut(name) {
                target.begin_part(piece, part)?;
            }
        }
        let Some(target) = self.targets.get_mut(name) else {
            // Pieces begin at 0.
            return Ok(());
        };
        if target.push(piece)? {
            let target = self.targets.remove(name);
            target.map_or(Ok(()), |target| self.close(loader, name, target))?;
        }
        Ok(())
    }

    /// Where the bytes of a new tensor go.
    fn open(&mut self, loader: &Loader<B>, name: &str, piece: &TensorPiece<'_>) -> Result<Target<B>> {
        if let Some((weight, part)) = QuantPart::parse(name) {
            let shape = linear_shape(loader, weight);
            let elements = shape
                .ok_or_else(|| unknown(loader, name, piece))?
                .iter()
                .product();
            let parts = self.quantized.entry(weight.to_owned()).or_default();
            return parts.open(&self.backend, name, part, elements, piece);
        }
        let Some(spec) = loader.spec(name) else {
            return Err(unknown(loader, name, piece));
        };
        if loader.loaded.contains_key(name) || self.quantized.get(name).is_some_and(Parts::has_codes) {
            return Err(problem(name, "it once", "it twice"));
        }
        match piece.format {
            TensorFormat::Other("U8") if spec.role == Role::Linear => {
                self.quantized.entry(name.to_owned()).or_default();
                let len = bytes(name, &spec.shape, 1)?.div_ceil(2);
                Ok(Target::device(&self.backend, name, &[len], DType::U8, len)?.of_any_shape())
            }
            TensorFormat::Dense(float) => {
                let len = bytes(name, &spec.shape, float.size())?;
                if spec.role == Role::Vector {
                    Ok(Target::host(name, &spec.shape, len))
                } else {
                    Target::device(&self.backend, name, &spec.shape, store::dtype(float), len)
                }
            }
            _ => {
                let expected = if spec.role == Role::Linear {
                    "F32, F16 or BF16, or U8 codes"
                } else {
                    "F32, F16 or BF16"
                };
                Err(problem(name, expected, piece.dtype))
            }
        }
    }

    /// Puts a whole tensor where it belongs.
    fn close(&mut self, loader: &mut Loader<B>, name: &str, target: Target<B>) -> Result<()> {
        if let Some((weight, part)) = QuantPart::parse(name) {
            let parts = self.quantized.entry(weight.to_owned()).or_default();
            return parts.close(name, part, target);
        }
        if let Some(parts) = self.quantized.get_mut(name) {
            return parts.set_codes(name, target);
        }
        match target.into_whole() {
            target::Whole::Device(tensor) => {
                let weight = Loaded::Weight(Weight::Dense(tensor));
                loader.loaded.insert(name.to_owned(), weight);
                Ok(())
            }
            target::Whole::Host { float, shape, bytes } => {
                let dtype = float.ok_or_else(|| problem(name, "F32, F16 or BF16", "another type"))?;
                let values = Values::Dense {
                    dtype,
                    bytes: bytes.into(),
                };
                loader.insert(name, StoredTensor { shape, values })
            }
        }
    }
}

/// The shape of a linear layer's matrix, where the model has such a layer.
fn linear_shape<B: Backend>(loader: &Loader<B>, name: &str) -> Option<[usize; 2]> {
    let spec = loader.spec(name).filter(|spec| spec.role == Role::Linear)?;
    spec.shape.as_slice().try_into().ok()
}

/// The bytes of a shape's elements of `size` bytes each.
fn bytes(name: &str, shape: &[usize], size: usize) -> Result<usize> {
    let mut sizes = shape.iter();
    sizes
        .try_fold(size, |bytes, size| bytes.checked_mul(*size))
        .ok_or_else(|| problem(name, "a shape that memory can hold", format!("{shape:?}")))
}

fn unknown<B: Backend>(loader: &Loader<B>, name: &str, piece: &TensorPiece<'_>) -> ModelError {
    let expected = format!(
        "no such tensor in a {} model of this config",
        loader.config.model_type
    );
    problem(name, expected, format!("{} {:?}", piece.dtype, piece.shape))
}

fn problem(name: &str, expected: impl Into<String>, found: impl Into<String>) -> ModelError {
    ModelError::Tensors(vec![TensorProblem {
        name: name.to_owned(),
        expected: expected.into(),
        found: found.into(),
    }])
}
