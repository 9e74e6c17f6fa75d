//! Writing a GGUF file, version 3, as far as adapters need it.

use crate::FloatType;

const ALIGNMENT: usize = 32;

/// A metadata value.
pub(crate) enum MetaValue<'a> {
    Text(&'a str),
    F32(f32),
}

/// A tensor.
pub(crate) struct TensorData {
    pub(crate) name: String,
    pub(crate) dtype: FloatType,
    /// Row-major.
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The file's bytes.
pub(crate) fn write(metadata: &[(&str, MetaValue<'_>)], tensors: &[TensorData]) -> Vec<u8> {
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut out, key);
        match value {
            MetaValue::Text(value) => {
                out.extend(8u32.to_le_bytes());
                text(&mut out, value);
            }
            MetaValue::F32(value) => {
                out.extend(6u32.to_le_bytes());
                out.extend(value.to_le_bytes());
            }
        }
    }
    let mut offset = 0;
    for tensor in tensors {
        text(&mut out, &tensor.name);
        out.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            out.extend((*size as u64).to_le_bytes());
        }
        let kind: u32 = match tensor.dtype {
            FloatType::F32 => 0,
            FloatType::F16 => 1,
            FloatType::BF16 => 30,
        };
        out.extend(kind.to_le_bytes());
        out.extend((offset as u64).to_le_bytes());
        offset += tensor.bytes.len().next_multiple_of(ALIGNMENT);
    }
    for tensor in tensors {
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out.extend(&tensor.bytes);
    }
    // llama.cpp expects the last tensor to be padded like the others.
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    out
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}
