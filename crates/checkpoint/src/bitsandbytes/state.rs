//! The JSON that describes one weight.

use anylora_quant::{BlockSize, Codebook};

use crate::fields::{Fields, parse_object};
use crate::{CheckpointError, Result};

/// A checked quant_state: what the parts of a 4-bit weight are.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantState {
    /// What the codes stand for.
    pub codebook: Codebook,
    /// Elements that share an absmax.
    pub block_size: BlockSize,
    /// The weight's shape.
    pub shape: Vec<usize>,
    /// Elements, at least one.
    pub len: usize,
    /// Where the absmax are quantized: the blocks that share a scale, and what is added.
    pub nested: Option<(usize, f32)>,
}

impl QuantState {
    /// Parses the text of a tensor, whose file and name are `label`.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every wrong field.
    pub fn parse(label: &str, bytes: &[u8]) -> Result<Self> {
        let object = parse_object(label, bytes)?;
        let mut f = Fields::new(label, "", &object);
        let codebook = match f.text("quant_type") {
            Some("nf4") => Codebook::Nf4,
            Some("fp4") => Codebook::Fp4,
            other => {
                let found = other.map_or("nothing".into(), |text| format!("{text:?}"));
                f.problem("quant_type", "\"nf4\" or \"fp4\"", found);
                Codebook::Nf4
            }
        };
        let size = f.required_size("blocksize");
        let block_size = BlockSize::new(size).unwrap_or_else(|_| {
            f.problem("blocksize", "a power of two from 32 to 4096", size.to_string());
            BlockSize::default()
        });
        let shape = f.sizes("shape");
        let len = shape
            .iter()
            .try_fold(1usize, |len, size| len.checked_mul(*size))
            .unwrap_or(0);
        if len == 0 {
            let expected = "the weight's dimensions, none of them 0";
            f.problem("shape", expected, format!("{shape:?}"));
        }
        let nested = f.get("nested_blocksize").is_some().then(|| {
            let block = f.required_size("nested_blocksize");
            let offset = f.required_number("nested_offset") as f32;
            if !offset.is_finite() {
                f.problem("nested_offset", "a number that f32 can hold", offset.to_string());
            }
            (block, offset)
        });
        if f.problems.0.is_empty() {
            Ok(Self {
                codebook,
                block_size,
                shape,
                len,
                nested,
            })
        } else {
            Err(CheckpointError::Malformed(f.problems))
        }
    }
}
