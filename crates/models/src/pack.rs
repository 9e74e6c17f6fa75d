//! A model as a pack: the folder of small, verified parts that the browser loads.
//!
//! Linear layers are quantized as [`crate::Loader`] does it, and stored as bitsandbytes does; those that are in 4 bits
//! already keep their bits. The values that a pack has and the types that they are stored in:
//!
//! | tensor | with quantization | without |
//! |---|---|---|
//! | linear layers | 4 bits | as stored |
//! | embedding, head | F16 and BF16 as stored, others F16 | as stored |
//! | norms, biases | as stored | as stored |
//!
//! llama.cpp's blocks, which browsers don't read, become 4 bits or F16.

use std::path::Path;

use anylora_checkpoint::{
    Checkpoint, FloatType, MAX_PART_BYTES, PackManifest, PackQuantization, PackTensor, PackWriter,
    StoredTensor, TensorFormat, Values, shard_bytes,
};
use anylora_engine::{Caps, Dry};
use anylora_quant::{Absmax, BlockSize, Codebook, DYNAMIC_MAP_SIGNED, NESTED_BLOCK, QuantError, Quantized4};
use serde_json::json;

use crate::store::{for_each_chunk, quantize};
use crate::{LoadOptions, Loader, ModelError, Quantization, Result, Role, TensorSpec, layout};

/// Bytes of a quant_state's text, padded with spaces: its length is known before its numbers are.
const STATE_BYTES: usize = 256;

/// The form in which a tensor is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Dense(FloatType),
    Packed(Quantization),
}

/// Writes a checkpoint as a pack at `path`, one tensor in memory at a time, where there must be nothing, an empty folder
/// or a pack, which is replaced in the end. The same checkpoint and settings give the same bytes. `name` is the model's
/// for people, `max_shard_bytes` the largest file, [`anylora_checkpoint::MAX_PART_BYTES`] at most; `progress(done, of)`
/// counts tensors.
///
/// # Errors
/// [`ModelError::Tensors`] with every tensor that is missing, left over or of the wrong shape, before anything is
/// written; [`ModelError::Quantize`]; [`ModelError::OutOfRange`]; those of [`PackWriter`].
pub fn pack(
    checkpoint: &Checkpoint,
    quantization: Option<Quantization>,
    path: &Path,
    name: &str,
    max_shard_bytes: usize,
    mut progress: impl FnMut(usize, usize),
) -> Result<PackManifest> {
    check(checkpoint)?;
    let specs = layout(checkpoint.config())?;
    let mut forms = Vec::with_capacity(specs.len());
    let mut tensors = Vec::new();
    for spec in &specs {
        let form = form(checkpoint, spec, quantization)?;
        forms.push(form);
        push_tensors(spec, form, &mut tensors);
    }
    let mut writer = PackWriter::with_shards_of(path, tensors, max_shard_bytes)?;
    for (done, (spec, form)) in specs.iter().zip(&forms).enumerate() {
        progress(done, specs.len());
        write(&mut writer, spec, *form, checkpoint.read(&spec.name)?)?;
    }
    progress(specs.len(), specs.len());
    let packed = forms.iter().find_map(|form| match form {
        Form::Packed(quantization) => Some(*quantization),
        Form::Dense(_) => None,
    });
    for (name, bytes) in side_files(checkpoint, &forms, packed) {
        // An empty template is none.
        if !bytes.is_empty() {
            writer.add_file(&name, &bytes)?;
        }
    }
    let quantization = match packed.map(|packed| packed.codebook) {
        Some(Codebook::Nf4) => PackQuantization::Nf4,
        Some(Codebook::Fp4) => PackQuantization::Fp4,
        None => PackQuantization::None,
    };
    Ok(writer.finish(name, quantization)?)
}

/// Bytes of the weight files of a checkpoint's model where it is kept on disk as `options` holds it; nothing is written.
/// With quantization these are the safetensors files that [`pack`] writes with the largest shards, else one file of all
/// tensors in the type `options.dense`, norms and biases too, or as stored (llama.cpp's blocks in F16).
///
/// # Errors
/// A tensor that is missing, or of which a row is larger than a shard.
pub fn weight_file_bytes(checkpoint: &Checkpoint, options: LoadOptions) -> Result<u64> {
    let mut tensors = Vec::new();
    for spec in &layout(checkpoint.config())? {
        let form = match (
            form(checkpoint, spec, options.quantization)?,
            options.quantization,
            options.dense,
        ) {
            (Form::Dense(_), None, Some(dtype)) => Form::Dense(dtype),
            (form, ..) => form,
        };
        push_tensors(spec, form, &mut tensors);
    }
    let max_bytes = match options.quantization {
        Some(_) => MAX_PART_BYTES as usize,
        None => usize::MAX,
    };
    Ok(shard_bytes(tensors, max_bytes)?.iter().sum())
}

/// Whether the checkpoint has the model's tensors.
fn check(checkpoint: &Checkpoint) -> Result<()> {
    let device = Dry::new(Caps::HOST, None);
    let loader = Loader::new(&device, checkpoint.config(), LoadOptions::default())?;
    let names = checkpoint.names();
    let stored: anylora_checkpoint::Result<Vec<_>> = names
        .map(|name| Ok((name.to_owned(), checkpoint.info(name)?)))
        .collect();
    let stored = stored?.into_iter();
    let stored: Vec<_> = stored
        .map(|(name, info)| (name, info.shape, info.format))
        .collect();
    loader.check(&stored)
}

fn side_files(
    checkpoint: &Checkpoint,
    forms: &[Form],
    packed: Option<Quantization>,
) -> Vec<(String, Vec<u8>)> {
    let dense = forms.iter().find_map(|form| match form {
        Form::Dense(dtype) => Some(*dtype),
        Form::Packed(_) => None,
    });
    let dtype = dense.unwrap_or(FloatType::F16);
    match packed {
        Some(packed) => checkpoint.side_files_4bit(dtype, packed.codebook, packed.double),
        None => checkpoint.side_files(dtype),
    }
}

fn form(checkpoint: &Checkpoint, spec: &TensorSpec, quantization: Option<Quantization>) -> Result<Form> {
    let format = checkpoint.info(&spec.name)?.format;
    if spec.role == Role::Linear {
        if let TensorFormat::Quantized4 { .. } = format
            && let Values::Quantized4(stored) = checkpoint.read(&spec.name)?.values
        {
            // Not all nested scales stay so when they are read.
            return Ok(Form::Packed(Quantization {
                codebook: stored.codebook,
                block_size: stored.block_size,
                double: matches!(stored.absmax, Absmax::Double(_)),
            }));
        }
        if let Some(quantization) = quantization {
            return Ok(Form::Packed(quantization));
        }
    }
    let is_table = matches!(spec.role, Role::Embedding | Role::Head);
    Ok(Form::Dense(match format {
        TensorFormat::Dense(FloatType::F32) if is_table && quantization.is_some() => FloatType::F16,
        TensorFormat::Dense(dtype) => dtype,
        _ if spec.role == Role::Vector => FloatType::F32,
        _ => FloatType::F16,
    }))
}

/// The tensors of a pack that a tensor of the model becomes, in the order in which [`write`] writes them.
fn push_tensors(spec: &TensorSpec, form: Form, tensors: &mut Vec<PackTensor>) {
    let TensorSpec { name, shape, .. } = spec;
    let Quantization {
        codebook,
        block_size,
        double,
    } = match form {
        Form::Dense(dtype) => {
            tensors.push(PackTensor::floats(name, dtype, shape));
            return;
        }
        Form::Packed(quantization) => quantization,
    };
    let len = shape.iter().product();
    let blocks = block_size.blocks(len);
    let floats =
        |suffix: &str, len: usize| PackTensor::floats(format!("{name}{suffix}"), FloatType::F32, &[len]);
    tensors.push(PackTensor::bytes(
        format!("{name}.quant_state.bitsandbytes__{}", codebook.name()),
        &[STATE_BYTES],
    ));
    tensors.push(floats(".quant_map", codebook.levels().len()));
    if double {
        tensors.push(floats(".nested_quant_map", DYNAMIC_MAP_SIGNED.len()));
        tensors.push(floats(".nested_absmax", blocks.div_ceil(NESTED_BLOCK)));
        tensors.push(PackTensor::bytes(format!("{name}.absmax"), &[blocks]));
    } else {
        tensors.push(floats(".absmax", blocks));
    }
    tensors.push(PackTensor::bytes(name, &[len.div_ceil(2), 1]));
}

fn write(writer: &mut PackWriter, spec: &TensorSpec, form: Form, stored: StoredTensor<'_>) -> Result<()> {
    let name = || spec.name.clone();
    match (form, stored.values) {
        (Form::Packed(_), Values::Quantized4(quantized)) => write_packed(writer, spec, &quantized),
        (Form::Packed(quantization), values) => {
            let stored = StoredTensor {
                shape: stored.shape,
                values,
            };
            let quantized = quantize(&stored, quantization)
                .map_err(|source| ModelError::Quantize { name: name(), source })?;
            write_packed(writer, spec, &quantized)
        }
        (Form::Dense(to), Values::Dense { dtype, bytes }) if to == dtype => Ok(writer.write(&bytes)?),
        (Form::Dense(to), values) => {
            let stored = StoredTensor {
                shape: stored.shape,
                values,
            };
            let written = for_each_chunk(&stored, |values| {
                let bytes = to.encode(values).map_err(Failure::OutOfRange)?;
                Ok(writer.write(&bytes).map_err(ModelError::from)?)
            });
            written.map_err(|failure| match failure {
                Failure::OutOfRange(value) => ModelError::OutOfRange { name: name(), value },
                Failure::Blocks(source) => ModelError::Quantize { name: name(), source },
                Failure::Written(error) => error,
            })
        }
    }
}

/// What can happen to a chunk of values.
enum Failure {
    OutOfRange(f32),
    Blocks(QuantError),
    Written(ModelError),
}

impl From<QuantError> for Failure {
    fn from(error: QuantError) -> Self {
        Self::Blocks(error)
    }
}

impl From<ModelError> for Failure {
    fn from(error: ModelError) -> Self {
        Self::Written(error)
    }
}

fn write_packed(writer: &mut PackWriter, spec: &TensorSpec, quantized: &Quantized4) -> Result<()> {
    writer.write(&state(spec, quantized))?;
    writer.write(&floats(quantized.codebook.levels()))?;
    match &quantized.absmax {
        Absmax::Double(double) => {
            writer.write(&floats(&DYNAMIC_MAP_SIGNED))?;
            writer.write(&floats(&double.nested_absmax))?;
            writer.write(&double.codes)?;
        }
        Absmax::F32(absmax) => writer.write(&floats(absmax))?,
    }
    Ok(writer.write(&quantized.packed)?)
}

/// The JSON that describes a weight (bitsandbytes 0.50 `functional.py:QuantState.as_dict`).
fn state(spec: &TensorSpec, quantized: &Quantized4) -> Vec<u8> {
    let mut state = json!({
        "quant_type": quantized.codebook.name(),
        "blocksize": BlockSize::get(quantized.block_size),
        "dtype": "float32",
        "shape": spec.shape,
    });
    if let Absmax::Double(double) = &quantized.absmax {
        state["nested_blocksize"] = json!(NESTED_BLOCK);
        state["nested_dtype"] = json!("float32");
        // Exactly: every f32 is an f64, and JSON's numbers are those of f64.
        state["nested_offset"] = json!(f64::from(double.offset));
    }
    let mut text = state.to_string().into_bytes();
    debug_assert!(text.len() <= STATE_BYTES, "a matrix's description is short");
    text.resize(STATE_BYTES, b' ');
    text
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
