//! Weights that bitsandbytes already has in 4 bits, as transformers' `save_pretrained` writes them.
//!
//! A weight `W` of any shape is several tensors:
//!
//! | tensor | dtype | what |
//! |---|---|---|
//! | `W` | U8, or any type as a container | the packed codes, `[ceil(n / 2)]` bytes |
//! | `W.absmax` | F32, or U8 where nested | one a block |
//! | `W.quant_map` | F32 `[16]` | the codebook |
//! | `W.nested_absmax` | F32 | where nested: one for each `nested_blocksize` blocks |
//! | `W.nested_quant_map` | F32 `[256]` | where nested: the levels of the U8 absmax |
//! | `W.quant_state.bitsandbytes__nf4` (or `__fp4`) | U8 | JSON: `quant_type`, `blocksize`, `shape`, `nested_blocksize`, `nested_offset` |
//!
//! Source: bitsandbytes 0.50 `functional.py:QuantState.as_dict`.

mod method;
mod names;
mod parts;
mod state;

use std::collections::BTreeMap;

use anylora_quant::{
    Absmax, BlockSize, Codebook, DYNAMIC_MAP_SIGNED, DoubleQuantized, NESTED_BLOCK, Quantized4,
};

pub(crate) use self::method::check_method;
pub use self::names::QuantPart;
use self::parts::Parts;
pub use self::state::QuantState;
use crate::folder::Files;
use crate::shards::Place;
use crate::{CheckpointError, FloatType, Problem, Problems, Result, TensorFormat, TensorInfo};

use self::names::{PARTS, STATE};

/// A weight in 4 bits: the places of its parts, whose sizes fit each other.
#[derive(Debug)]
pub(crate) struct Place4 {
    pub(crate) shape: Vec<usize>,
    codebook: Codebook,
    block_size: BlockSize,
    packed: Place,
    absmax: Place,
    nested: Option<Nested>,
}

/// How the absmax are themselves quantized.
#[derive(Debug)]
struct Nested {
    absmax: Place,
    map: Place,
    block: usize,
    offset: f32,
}

/// Takes the parts of all 4-bit weights out of `tensors` and returns the weights under their own names.
///
/// # Errors
/// [`CheckpointError::Malformed`] with every weight whose parts are missing or do not fit.
pub(crate) fn take(files: &Files, tensors: &mut BTreeMap<String, Place>) -> Result<BTreeMap<String, Place4>> {
    let states: Vec<String> = tensors
        .keys()
        .filter(|name| name.contains(STATE))
        .cloned()
        .collect();
    let mut weights = BTreeMap::new();
    let mut problems = Problems::default();
    for state in states {
        let Some(place) = tensors.remove(&state) else {
            continue;
        };
        let weight = state.split(STATE).next().unwrap_or_default().to_string();
        match Place4::new(files, tensors, &weight, &state, &place) {
            Ok(parts) => {
                weights.insert(weight, parts);
            }
            Err(CheckpointError::Malformed(mut more)) => problems.0.append(&mut more.0),
            Err(error) => return Err(error),
        }
    }
    // Parts of a weight that has no state; a bad state was reported above and took its parts along.
    for (name, place) in tensors.iter() {
        if let Some(weight) = PARTS.iter().find_map(|(part, _)| name.strip_suffix(part)) {
            let expected = format!("`{weight}{STATE}nf4` beside it");
            problems.0.push(Problem::new(
                &place.file,
                tensor(name),
                expected,
                "no such tensor",
            ));
        }
    }
    problems.into_result()?;
    Ok(weights)
}

fn tensor(name: &str) -> String {
    format!("tensor `{name}`")
}

impl Place4 {
    fn new(
        files: &Files,
        tensors: &mut BTreeMap<String, Place>,
        weight: &str,
        state_name: &str,
        state: &Place,
    ) -> Result<Self> {
        // All parts leave the map, whatever is wrong with some of them.
        let mut take = |suffix: &str| tensors.remove(&format!("{weight}{suffix}"));
        let (packed, absmax, map) = (take(""), take(".absmax"), take(".quant_map"));
        let (nested_absmax, nested_map) = (take(".nested_absmax"), take(".nested_quant_map"));
        let file = &state.file;
        let state = QuantState::parse(&format!("{file}: {}", tensor(state_name)), &state.bytes(files))?;
        let blocks = state.block_size.blocks(state.len);
        let mut parts = Parts {
            weight,
            file,
            problems: Problems::default(),
        };
        let packed = parts.container("", packed, state.len.div_ceil(2));
        let dtype = if state.nested.is_some() { "U8" } else { "F32" };
        let absmax = parts.part(".absmax", absmax, dtype, blocks);
        if let Some(map) = parts.part(".quant_map", map, "F32", 16)
            && map.f32s(files) != state.codebook.levels()
        {
            let place = tensor(&format!("{weight}.quant_map"));
            let expected = format!("the levels of {}", state.codebook.name());
            let problem = Problem::new(&map.file, place, expected, "other levels");
            parts.problems.0.push(problem);
        }
        let nested = state.nested.and_then(|(block, offset)| {
            let absmax = parts.part(".nested_absmax", nested_absmax, "F32", blocks.div_ceil(block));
            let map = parts.part(".nested_quant_map", nested_map, "F32", 256);
            Some(Nested {
                absmax: absmax?,
                map: map?,
                block,
                offset,
            })
        });
        parts.problems.into_result()?;
        match (packed, absmax) {
            (Some(packed), Some(absmax)) => Ok(Self {
                shape: state.shape,
                codebook: state.codebook,
                block_size: state.block_size,
                packed,
                absmax,
                nested,
            }),
            // A part that is not there is a problem, and problems were returned.
            _ => Err(CheckpointError::malformed(
                file,
                tensor(weight),
                "its parts",
                "some of them",
            )),
        }
    }

    pub(crate) fn info(&self) -> TensorInfo {
        let nested = self.nested.as_ref().map_or(0, |nested| nested.absmax.len());
        TensorInfo {
            shape: self.shape.clone(),
            format: TensorFormat::Quantized4 {
                codebook: self.codebook,
                block_size: self.block_size,
                double: self.nested.is_some(),
            },
            bytes: self.packed.len() + self.absmax.len() + nested,
        }
    }

    /// The weight as stored. Absmax that are nested in another way than [`DoubleQuantized`] are brought to f32, by
    /// `map[code] * nested_absmax + offset`; all others keep their bits.
    pub(crate) fn read(&self, files: &Files) -> Result<Quantized4> {
        let absmax = match &self.nested {
            None => Absmax::F32(self.absmax.f32s(files)),
            Some(nested) => {
                let codes = self.absmax.bytes(files);
                let (nested_absmax, map) = (nested.absmax.f32s(files), nested.map.f32s(files));
                if nested.block == NESTED_BLOCK && map == DYNAMIC_MAP_SIGNED {
                    Absmax::Double(DoubleQuantized {
                        codes: codes.to_vec(),
                        nested_absmax,
                        offset: nested.offset,
                    })
                } else {
                    let groups = codes.chunks(nested.block).zip(nested_absmax);
                    let absmax = groups.flat_map(|(codes, scale)| {
                        let level = |code: &u8| map[usize::from(*code)] * scale + nested.offset;
                        codes.iter().map(level).collect::<Vec<_>>()
                    });
                    Absmax::F32(absmax.collect())
                }
            }
        };
        let (packed, len) = (self.packed.bytes(files).into_owned(), self.shape.iter().product());
        Quantized4::new_from_parts(self.codebook, self.block_size, len, packed, absmax).map_err(|error| {
            CheckpointError::malformed(
                &self.packed.file,
                "4-bit weight",
                "parts that fit",
                error.to_string(),
            )
        })
    }
}

impl Place {
    /// An F32 tensor's values.
    fn f32s(&self, files: &Files) -> Vec<f32> {
        let bytes = self.bytes(files);
        let mut values = vec![0.0; bytes.len() / 4];
        FloatType::F32.decode(&bytes, &mut values);
        values
    }
}
