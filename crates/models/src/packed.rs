//! Packed linear layers in a file, so that the next start need not quantize.
//!
//! A safetensors file: of each linear layer `NAME` the codes (`NAME`, U8), and either `NAME.absmax` F32 or, double
//! quantized, `NAME.absmax` U8 with `NAME.nested_absmax` F32 and `NAME.offset` F32. Its metadata says how it was packed
//! and carries a fingerprint of the source files, which the caller makes: another fingerprint makes the file stale.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anylora_checkpoint::{Checkpoint, CheckpointError, FileBytes, Problem, Problems, StoredTensor, Values};
use anylora_quant::{Absmax, DoubleQuantized, NESTED_BLOCK, Quantized4};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};

use crate::store::quantize;
use crate::{Quantization, Result, Role, TensorSpec, layout};

/// Changes with the file's form.
const FORM: &str = "anylora packed 1";

/// A file of packed linear layers.
#[derive(Debug)]
pub struct Packed {
    bytes: FileBytes,
    quantization: Quantization,
}

impl Packed {
    /// Opens the file at `path`; None where there is none, or one of other sources, settings or form, or a damaged one.
    pub fn open(path: &Path, fingerprint: &str, quantization: Quantization) -> Option<Self> {
        let bytes = FileBytes::map(path).ok()?;
        let (_, header) = SafeTensors::read_metadata(&bytes).ok()?;
        let is_ours = header.metadata().as_ref() == Some(&metadata(fingerprint, quantization));
        is_ours.then_some(Self { bytes, quantization })
    }

    /// Quantizes the linear layers of a checkpoint into a file, one tensor at a time, under a temporary name first.
    /// Layers that are in 4 bits already are left out: they are as quick to load from the checkpoint.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::Malformed`] for a tensor that can't be quantized.
    pub fn write(
        path: &Path,
        fingerprint: &str,
        checkpoint: &Checkpoint,
        quantization: Quantization,
    ) -> Result<()> {
        let mut specs = layout(checkpoint.config())?;
        specs.retain(|spec| spec.role == Role::Linear && is_unpacked(checkpoint, spec));
        let header = header(&specs, fingerprint, quantization);
        anylora_checkpoint::write_atomically(path, |out| {
            let mut write = |bytes: &[u8]| {
                out.write_all(bytes).map_err(|source| CheckpointError::Io {
                    path: path.to_owned(),
                    source,
                })
            };
            write(&(header.len() as u64).to_le_bytes())?;
            write(&header)?;
            for spec in &specs {
                let stored = checkpoint.read(&spec.name)?;
                let quantized = quantize(&stored, quantization).map_err(|error| {
                    CheckpointError::Malformed(Problems(vec![Problem {
                        file: "the checkpoint".to_owned(),
                        place: format!("tensor `{}`", spec.name),
                        expected: "finite values".to_owned(),
                        found: error.to_string(),
                    }]))
                })?;
                write(&quantized.packed)?;
                match &quantized.absmax {
                    Absmax::F32(absmax) => write(bytemuck::cast_slice(absmax))?,
                    Absmax::Double(double) => {
                        write(&double.codes)?;
                        write(bytemuck::cast_slice(&double.nested_absmax))?;
                        write(&double.offset.to_le_bytes())?;
                    }
                }
            }
            Ok(())
        })?;
        Ok(())
    }

    /// A layer's packed values; None where the file lacks them.
    pub(crate) fn read(&self, spec: &TensorSpec) -> Option<StoredTensor<'static>> {
        let tensors = SafeTensors::deserialize(&self.bytes).ok()?;
        let part = |part: &str| tensors.tensor(&format!("{}{part}", spec.name)).ok();
        let floats = |name: &str| Some(bytemuck::pod_collect_to_vec::<u8, f32>(part(name)?.data()));
        let absmax = if self.quantization.double {
            Absmax::Double(DoubleQuantized {
                codes: part(".absmax")?.data().to_vec(),
                nested_absmax: floats(".nested_absmax")?,
                offset: *floats(".offset")?.first()?,
            })
        } else {
            Absmax::F32(floats(".absmax")?)
        };
        let Quantization {
            codebook, block_size, ..
        } = self.quantization;
        let packed = part("")?.data().to_vec();
        let len = spec.shape.iter().product();
        let quantized = Quantized4::new_from_parts(codebook, block_size, len, packed, absmax).ok()?;
        Some(StoredTensor {
            shape: spec.shape.clone(),
            values: Values::Quantized4(quantized),
        })
    }
}

fn is_unpacked(checkpoint: &Checkpoint, spec: &TensorSpec) -> bool {
    use anylora_checkpoint::TensorFormat;
    checkpoint
        .info(&spec.name)
        .is_ok_and(|info| !matches!(info.format, TensorFormat::Quantized4 { .. }) && info.shape == spec.shape)
}

fn metadata(fingerprint: &str, quantization: Quantization) -> HashMap<String, String> {
    let Quantization {
        codebook,
        block_size,
        double,
    } = quantization;
    let settings = format!("{} {} double={double}", codebook.name(), block_size.get());
    [
        ("form", FORM),
        ("source", fingerprint),
        ("quantization", &settings),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

/// The header in JSON, padded as the format's writers do.
fn header(specs: &[TensorSpec], fingerprint: &str, quantization: Quantization) -> Vec<u8> {
    let mut tensors = Vec::new();
    let mut end = 0;
    let mut add = |name: String, dtype: Dtype, len: usize, bytes: usize| {
        let data_offsets = (end, end + bytes);
        end += bytes;
        tensors.push((
            name,
            TensorInfo {
                dtype,
                shape: vec![len],
                data_offsets,
            },
        ));
    };
    for TensorSpec { name, shape, .. } in specs {
        let len: usize = shape.iter().product();
        let blocks = quantization.block_size.blocks(len);
        add(name.clone(), Dtype::U8, len.div_ceil(2), len.div_ceil(2));
        if quantization.double {
            let nested = blocks.div_ceil(NESTED_BLOCK);
            add(format!("{name}.absmax"), Dtype::U8, blocks, blocks);
            add(format!("{name}.nested_absmax"), Dtype::F32, nested, nested * 4);
            add(format!("{name}.offset"), Dtype::F32, 1, 4);
        } else {
            add(format!("{name}.absmax"), Dtype::F32, blocks, blocks * 4);
        }
    }
    // Offsets follow each other, and names and numbers are nothing that JSON can't say.
    let metadata = Metadata::new(Some(metadata(fingerprint, quantization)), tensors);
    let mut json = metadata
        .ok()
        .and_then(|metadata| serde_json::to_vec(&metadata).ok())
        .unwrap_or_default();
    json.resize(json.len().next_multiple_of(8), b' ');
    json
}
