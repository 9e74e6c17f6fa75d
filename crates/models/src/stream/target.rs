//! Where the bytes of one tensor go until it is whole.

use anylora_checkpoint::{FloatType, TensorFormat, TensorPiece};
use anylora_engine::{Backend, DType, MemoryKind, Tensor};

use super::problem;
use crate::{Result, TensorProblem};

/// A tensor that arrives.
pub(super) struct Target<B: Backend> {
    name: String,
    place: Place<B>,
    /// The whole tensor's bytes, and how many are there.
    len: usize,
    filled: usize,
    /// The type that it is stored in, which all its parts have.
    stored: Option<&'static str>,
    float: Option<FloatType>,
    /// The part that arrives, and their count, from 1.
    part: (usize, usize),
    /// Whether files may shape it as they like: codes are columns in some and flat in others.
    any_shape: bool,
}

enum Place<B: Backend> {
    Device {
        tensor: Tensor<B>,
        /// What doesn't fill a 4-byte word yet.
        carry: Vec<u8>,
    },
    Host {
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
}

/// A tensor that is whole.
pub(super) enum Whole<B: Backend> {
    Device(Tensor<B>),
    Host {
        float: Option<FloatType>,
        shape: Vec<usize>,
        bytes: Vec<u8>,
    },
}

impl<B: Backend> Target<B> {
    fn new(name: &str, place: Place<B>, len: usize) -> Self {
        Self {
            name: name.to_owned(),
            place,
            len,
            filled: 0,
            stored: None,
            float: None,
            part: (0, 1),
            any_shape: false,
        }
    }

    /// The same for a tensor of which only the number of bytes counts.
    pub(super) fn of_any_shape(mut self) -> Self {
        self.any_shape = true;
        self
    }

    /// Device memory of this shape and type, which is `len` bytes.
    pub(super) fn device(backend: &B, name: &str, shape: &[usize], dtype: DType, len: usize) -> Result<Self> {
        let tensor = Tensor::empty(backend, shape, dtype, MemoryKind::Weights)?;
        let carry = Vec::new();
        Ok(Self::new(name, Place::Device { tensor, carry }, len))
    }

    /// Host memory for `len` bytes.
    pub(super) fn host(name: &str, shape: &[usize], len: usize) -> Self {
        let (shape, bytes) = (shape.to_vec(), Vec::new());
        Self::new(name, Place::Host { shape, bytes }, len)
    }

    /// A new tensor of the file begins: the whole one, or its next part.
    pub(super) fn begin_part(&mut self, piece: &TensorPiece<'_>, part: Option<(usize, usize)>) -> Result<()> {
        let (number, count) = part.unwrap_or((1, 1));
        let next = (
            self.part.0 + 1,
            if self.part.0 == 0 { count } else { self.part.1 },
        );
        if (number, count) != next {
            let (expected, found) = (
                format!("part {} of {} next", next.0, next.1),
                format!("part {number} of {count}"),
            );
            return Err(problem(&self.name, expected, found));
        }
        self.part = (number, count);
        if self.stored.is_some_and(|stored| stored != piece.dtype) {
            return Err(problem(&self.name, "one type in all parts", piece.dtype));
        }
        self.stored = Some(piece.dtype);
        self.float = match piece.format {
            TensorFormat::Dense(float) => Some(float),
            _ => None,
        };
        let end = self.filled.checked_add(piece.len);
        let fits = end.is_some_and(|end| {
            if number == count {
                end == self.len
            } else {
                end < self.len
            }
        });
        if fits && self.has_shape(piece, part.is_some()) {
            return Ok(());
        }
        let expected = format!("{:?}, {} bytes", self.shape(), self.len);
        let found = format!(
            "{} {:?}, {} bytes",
            piece.dtype,
            piece.shape,
            self.filled + piece.len
        );
        Err(problem(&self.name, expected, found))
    }

    fn shape(&self) -> &[usize] {
        match &self.place {
            Place::Device { tensor, .. } => tensor.shape(),
            Place::Host { shape, .. } => shape,
        }
    }

    /// Whether the file's shape is the tensor's; parts differ in their rows.
    fn has_shape(&self, piece: &TensorPiece<'_>, is_part: bool) -> bool {
        let shape = self.shape();
        self.any_shape || piece.shape == shape || (is_part && piece.shape.get(1..) == shape.get(1..))
    }

    /// Takes bytes; says whether the whole tensor is there.
    pub(super) fn push(&mut self, piece: &TensorPiece<'_>) -> Result<bool> {
        let bytes = piece.bytes;
        match &mut self.place {
            Place::Host { bytes: held, .. } => held.extend_from_slice(bytes),
            Place::Device { tensor, carry } => {
                let mut rest = bytes;
                let mut at = self.filled - carry.len();
                if !carry.is_empty() {
                    let (first, others) = rest.split_at(rest.len().min(4 - carry.len()));
                    carry.extend_from_slice(first);
                    rest = others;
                    if carry.len() == 4 {
                        tensor.upload_part(at, carry)?;
                        carry.clear();
                        at += 4;
                    }
                }
                let ends = self.filled + bytes.len() == self.len;
                let whole = if ends { rest.len() } else { rest.len() / 4 * 4 };
                let (words, others) = rest.split_at(whole);
                if carry.is_empty() && !words.is_empty() {
                    tensor.upload_part(at, words)?;
                } else if ends && !carry.is_empty() {
                    tensor.upload_part(at, carry)?;
                }
                carry.extend_from_slice(others);
            }
        }
        self.filled += bytes.len();
        Ok(piece.is_last() && self.part.0 == self.part.1)
    }

    /// What is wrong with a tensor of which parts are missing.
    pub(super) fn unfinished(&self) -> TensorProblem {
        TensorProblem {
            name: self.name.clone(),
            expected: format!("{} parts", self.part.1),
            found: self.part.0.to_string(),
        }
    }

    pub(super) fn into_whole(self) -> Whole<B> {
        match self.place {
            Place::Device { tensor, .. } => Whole::Device(tensor),
            Place::Host { shape, bytes } => Whole::Host {
                float: self.float,
                shape,
                bytes,
            },
        }
    }

    /// The tensor on the device, for one that was opened there.
    pub(super) fn into_device(self) -> Option<Tensor<B>> {
        match self.place {
            Place::Device { tensor, .. } => Some(tensor),
            Place::Host { .. } => None,
        }
    }

    /// The bytes on the host, for one that was opened there.
    pub(super) fn into_host(self) -> Option<Vec<u8>> {
        match self.place {
            Place::Device { .. } => None,
            Place::Host { bytes, .. } => Some(bytes),
        }
    }
}
