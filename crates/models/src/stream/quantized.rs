//! The parts of one weight in 4 bits until all are there.

use anylora_checkpoint::{FloatType, QuantPart, QuantState, TensorPiece};
use anylora_engine::{Absmax, Backend, DType, Nf4, Tensor};
use anylora_quant::{BlockSize, DYNAMIC_MAP_SIGNED, NESTED_BLOCK};

use super::problem;
use super::target::Target;
use crate::{ModelError, Result, TensorProblem};

/// More than any quant_state is long.
const MAX_STATE: usize = 4096;

/// The smallest blocks that there are: bounds what a part takes before the state says its block size.
const MIN_BLOCK: usize = 32;

/// The parts that are whole.
pub(super) struct Parts<B: Backend> {
    state: Option<QuantState>,
    codes: Option<Tensor<B>>,
    absmax: Option<Tensor<B>>,
    nested_absmax: Option<Tensor<B>>,
    quant_map: Option<Vec<f32>>,
    nested_map: Option<Vec<f32>>,
}

impl<B: Backend> Default for Parts<B> {
    fn default() -> Self {
        Self {
            state: None,
            codes: None,
            absmax: None,
            nested_absmax: None,
            quant_map: None,
            nested_map: None,
        }
    }
}

impl<B: Backend> Parts<B> {
    pub(super) const fn has_codes(&self) -> bool {
        self.codes.is_some()
    }

    /// Where the bytes of a part go, of a weight of `elements`. How long it has to be in the end is for
    /// [`Parts::finish`] to say.
    pub(super) fn open(
        &mut self,
        backend: &B,
        name: &str,
        part: QuantPart,
        elements: usize,
        piece: &TensorPiece<'_>,
    ) -> Result<Target<B>> {
        let has = match part {
            QuantPart::State => self.state.is_some(),
            QuantPart::QuantMap => self.quant_map.is_some(),
            QuantPart::Absmax => self.absmax.is_some(),
            QuantPart::NestedAbsmax => self.nested_absmax.is_some(),
            QuantPart::NestedQuantMap => self.nested_map.is_some(),
        };
        if has {
            return Err(problem(name, "it once", "it twice"));
        }
        let (dtypes, most): (&[&str], usize) = match part {
            QuantPart::State => (&["U8"], MAX_STATE),
            QuantPart::QuantMap => (&["F32"], 16 * 4),
            QuantPart::NestedQuantMap => (&["F32"], 256 * 4),
            QuantPart::Absmax | QuantPart::NestedAbsmax => {
                let dtypes: &[&str] = if part == QuantPart::Absmax {
                    &["U8", "F32"]
                } else {
                    &["F32"]
                };
                let blocks = elements.div_ceil(
                    self.state
                        .as_ref()
                        .map_or(MIN_BLOCK, |state| state.block_size.get()),
                );
                (dtypes, blocks * 4)
            }
        };
        if !dtypes.contains(&piece.dtype) || piece.len > most || piece.len == 0 {
            let expected = format!("{} of 1 to {most} bytes", dtypes.join(" or "));
            let found = format!("{} {:?}", piece.dtype, piece.shape);
            return Err(problem(name, expected, found));
        }
        let target = match part {
            QuantPart::State | QuantPart::QuantMap | QuantPart::NestedQuantMap => {
                Target::host(name, &[piece.len], piece.len)
            }
            QuantPart::Absmax | QuantPart::NestedAbsmax => {
                let (dtype, size) = if piece.dtype == "U8" {
                    (DType::U8, 1)
                } else {
                    (DType::F32, 4)
                };
                Target::device(backend, name, &[piece.len / size], dtype, piece.len)?
            }
        };
        Ok(target.of_any_shape())
    }

    /// Takes a part that is whole.
    pub(super) fn close(&mut self, name: &str, part: QuantPart, target: Target<B>) -> Result<()> {
        match part {
            QuantPart::Absmax => self.absmax = target.into_device(),
            QuantPart::NestedAbsmax => self.nested_absmax = target.into_device(),
            QuantPart::QuantMap => self.quant_map = target.into_host().map(|bytes| floats(&bytes)),
            QuantPart::NestedQuantMap => self.nested_map = target.into_host().map(|bytes| floats(&bytes)),
            QuantPart::State => {
                let bytes = target.into_host().unwrap_or_default();
                self.state = Some(QuantState::parse(&format!("tensor `{name}`"), &bytes)?);
            }
        }
        Ok(())
    }

    /// Takes the codes.
    pub(super) fn set_codes(&mut self, name: &str, target: Target<B>) -> Result<()> {
        self.codes = target.into_device();
        if self.codes.is_some() {
            Ok(())
        } else {
            Err(problem(name, "codes", "none"))
        }
    }

    /// The weight of shape `[N, K]`.
    ///
    /// # Errors
    /// [`ModelError::Tensors`] with every part that is missing or doesn't fit the state.
    pub(super) fn finish(self, weight: &str, shape: Option<[usize; 2]>) -> Result<Nf4<B>> {
        let (Some(state), Some(shape)) = (&self.state, shape) else {
            return Err(problem(
                weight,
                "its quant_state.bitsandbytes__nf4",
                "no such tensor",
            ));
        };
        let mut problems = Vec::new();
        let mut bad = |suffix: &str, expected: String, found: String| {
            problems.push(TensorProblem {
                name: format!("{weight}{suffix}"),
                expected,
                found,
            });
        };
        if state.shape != shape {
            bad(
                "",
                format!("{shape:?}"),
                format!("{:?} in its quant_state", state.shape),
            );
        }
        let blocks = state.block_size.blocks(shape[0] * shape[1]);
        let mut wants = |suffix: &str, tensor: &Option<Tensor<B>>, dtype: DType, len: usize| match tensor {
            Some(tensor) if tensor.dtype() == dtype && tensor.len() == len => {}
            Some(tensor) => bad(
                suffix,
                format!("{dtype} [{len}]"),
                format!("{} {:?}", tensor.dtype(), tensor.shape()),
            ),
            None => bad(suffix, format!("{dtype} [{len}]"), "no such tensor".to_owned()),
        };
        wants("", &self.codes, DType::U8, (shape[0] * shape[1]).div_ceil(2));
        let absmax = if state.nested.is_some() {
            DType::U8
        } else {
            DType::F32
        };
        wants(".absmax", &self.absmax, absmax, blocks);
        if let Some((block, _)) = state.nested {
            wants(
                ".nested_absmax",
                &self.nested_absmax,
                DType::F32,
                blocks.div_ceil(block.max(1)),
            );
            if block != NESTED_BLOCK {
                let expected = format!("a nested_blocksize of {NESTED_BLOCK}");
                bad("", expected, block.to_string());
            }
            if self.nested_map.as_deref() != Some(&DYNAMIC_MAP_SIGNED[..]) {
                bad(
                    ".nested_quant_map",
                    "bitsandbytes' signed dynamic map".to_owned(),
                    other(&self.nested_map),
                );
            }
        }
        if self.quant_map.as_deref() != Some(&state.codebook.levels()[..]) {
            let expected = format!("the levels of {}", state.codebook.name());
            bad(".quant_map", expected, other(&self.quant_map));
        }
        let (Some(packed), Some(absmax), true) = (self.codes, self.absmax, problems.is_empty()) else {
            return Err(ModelError::Tensors(problems));
        };
        let absmax = match (state.nested, self.nested_absmax) {
            (Some((_, offset)), Some(nested)) => Absmax::Double {
                codes: absmax,
                nested,
                offset,
            },
            _ => Absmax::F32(absmax),
        };
        Ok(Nf4 {
            packed,
            absmax,
            levels: *state.codebook.levels(),
            block_size: BlockSize::get(state.block_size),
            shape,
        })
    }
}

fn other(levels: &Option<Vec<f32>>) -> String {
    levels
        .as_ref()
        .map_or("no such tensor", |_| "other levels")
        .to_owned()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / 4];
    FloatType::F32.decode(&bytes[..values.len() * 4], &mut values);
    values
}
