//! Writing: the header first, then the tensors in its order, in parts of any size.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::json;

use crate::{CheckpointError, FloatType, Problem, Problems, Result};

/// A tensor that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type in which its values are stored.
    pub dtype: FloatType,
    /// Row-major.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the values.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }
}

/// A tensor of a header that is written: name, dtype, shape, bytes.
pub(crate) type HeaderEntry<'a> = (&'a str, &'a str, &'a [usize], usize);

/// Entries of a header, in the order of their data.
struct HeaderOf<'a>(&'a [HeaderEntry<'a>]);

impl Serialize for HeaderOf<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // transformers and PEFT look for this.
        map.serialize_entry("__metadata__", &json!({"format": "pt"}))?;
        let mut at = 0;
        for (name, dtype, shape, bytes) in self.0 {
            let end = at + bytes;
            let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]});
            map.serialize_entry(name, &entry)?;
            at = end;
        }
        map.end()
    }
}

/// The length and the header, padded with spaces so that the data are aligned to 8 bytes.
pub(crate) fn header_of(entries: &[HeaderEntry<'_>]) -> Vec<u8> {
    // Texts and numbers: nothing that JSON cannot say.
    let mut json = serde_json::to_vec(&HeaderOf(entries)).unwrap_or_default();
    json.resize(json.len().next_multiple_of(8), b' ');
    [&(json.len() as u64).to_le_bytes()[..], &json].concat()
}

fn header(specs: &[TensorSpec]) -> Vec<u8> {
    let entries = specs.iter();
    let entries: Vec<HeaderEntry<'_>> = entries
        .map(|spec| {
            (
                spec.name.as_str(),
                spec.dtype.name(),
                spec.shape.as_slice(),
                spec.bytes(),
            )
        })
        .collect();
    header_of(&entries)
}

/// A whole file of f32 tensors: name, shape, values.
pub(crate) fn write_f32_file(tensors: &[(String, Vec<usize>, &[f32])]) -> Vec<u8> {
    let specs: Vec<_> = tensors
        .iter()
        .map(|(name, shape, _)| TensorSpec {
            name: name.clone(),
            dtype: FloatType::F32,
            shape: shape.clone(),
        })
        .collect();
    let mut bytes = header(&specs);
    for (_, _, values) in tensors {
        bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

/// Writes a safetensors file tensor by tensor.
#[derive(Debug)]
pub struct SafetensorsWriter<W> {
    out: W,
    /// For messages.
    path: PathBuf,
    specs: Vec<TensorSpec>,
    /// The tensor that is being written and how many of its values are.
    at: (usize, usize),
}

impl<W: Write> SafetensorsWriter<W> {
    /// Writes the header of `specs` to `out`; `path` names it in messages.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn new(mut out: W, path: &Path, specs: Vec<TensorSpec>) -> Result<Self> {
        out.write_all(&header(&specs))
            .map_err(CheckpointError::io(path))?;
        let mut writer = Self {
            out,
            path: path.into(),
            specs,
            at: (0, 0),
        };
        writer.skip_empty();
        Ok(writer)
    }

    /// Writes the next values of tensor `name`, rounded to its type. Tensors come in the order of the specs.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] for a tensor out of order, too many values, or a finite value that the tensor's
    /// type cannot hold; [`CheckpointError::Io`].
    pub fn write(&mut self, name: &str, values: &[f32]) -> Result<()> {
        let (index, done) = self.at;
        // A tensor without values is done before its turn.
        if values.is_empty() && self.specs.iter().any(|spec| spec.name == name && spec.is_empty()) {
            return Ok(());
        }
        let Some(spec) = self.specs.get(index).filter(|spec| spec.name == name) else {
            let next = self.specs.get(index).map_or("the end", |spec| spec.name.as_str());
            return Err(self.bad(name, format!("{next} next"), "this tensor"));
        };
        if values.len() > spec.len() - done {
            return Err(self.bad(
                name,
                format!("{} more values", spec.len() - done),
                values.len().to_string(),
            ));
        }
        let bytes = match spec.dtype.encode(values) {
            Ok(bytes) => bytes,
            Err(value) => {
                return Err(self.bad(
                    name,
                    format!("values within {}'s range", spec.dtype),
                    value.to_string(),
                ));
            }
        };
        let len = spec.len();
        self.out
            .write_all(&bytes)
            .map_err(CheckpointError::io(&self.path))?;
        self.at.1 += values.len();
        if self.at.1 == len {
            self.at = (index + 1, 0);
            self.skip_empty();
        }
        Ok(())
    }

    /// Whether every tensor is written whole.
    pub fn is_complete(&self) -> bool {
        self.at.0 == self.specs.len()
    }

    /// Returns the flushed output.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] with every tensor that was not written whole; [`CheckpointError::Io`].
    pub fn finish(mut self) -> Result<W> {
        let file = self.path.display().to_string();
        let missing = self.specs[self.at.0..].iter();
        let missing = missing.map(|spec| {
            let place = format!("tensor `{}`", spec.name);
            Problem::new(&file, place, "it to be written whole", "less")
        });
        Problems(missing.collect()).into_result()?;
        self.out.flush().map_err(CheckpointError::io(&self.path))?;
        Ok(self.out)
    }

    /// Tensors without values have nothing to write.
    fn skip_empty(&mut self) {
        while self.specs.get(self.at.0).is_some_and(TensorSpec::is_empty) {
            self.at = (self.at.0 + 1, 0);
        }
    }

    fn bad(&self, name: &str, expected: String, found: impl Into<String>) -> CheckpointError {
        let file = self.path.display().to_string();
        CheckpointError::malformed(&file, format!("tensor `{name}`"), expected, found)
    }
}
