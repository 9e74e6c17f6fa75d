use std::ops::Range;
use std::sync::Arc;

use crate::{Backend, DType, Error, Ledger, MemoryKind, Result};

/// Device memory with a shape: row-major and contiguous. A clone is the same memory.
pub struct Tensor<B: Backend> {
    memory: Arc<Memory<B>>,
    offset: u64,
    shape: Vec<usize>,
}

struct Memory<B: Backend> {
    storage: B::Storage,
    backend: B,
    dtype: DType,
    kind: MemoryKind,
    bytes: u64,
}

impl<B: Backend> Drop for Memory<B> {
    fn drop(&mut self) {
        self.backend.ledger().release(self.kind, self.bytes);
    }
}

impl<B: Backend> Clone for Tensor<B> {
    fn clone(&self) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            offset: self.offset,
            shape: self.shape.clone(),
        }
    }
}

impl<B: Backend> std::fmt::Debug for Tensor<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {:?} at {})", self.dtype(), self.shape, self.offset)
    }
}

impl<B: Backend> Tensor<B> {
    /// Memory that holds no value yet: an operation writes it before anything reads it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] from the ledger's limit or from the device.
    pub fn empty(backend: &B, shape: &[usize], dtype: DType, kind: MemoryKind) -> Result<Self> {
        let len: usize = shape.iter().product();
        let bytes = Ledger::rounded((len * dtype.size()) as u64);
        let ledger = backend.ledger();
        ledger.reserve(kind, bytes)?;
        let storage = match backend.allocate(len, dtype, bytes) {
            Ok(storage) => storage,
            Err(error) => {
                ledger.release(kind, bytes);
                return Err(error);
            }
        };
        ledger.commit();
        let memory = Memory {
            storage,
            backend: backend.clone(),
            dtype,
            kind,
            bytes,
        };
        let memory = Arc::new(memory);
        Ok(Self {
            memory,
            offset: 0,
            shape: shape.to_vec(),
        })
    }

    /// A tensor with these values.
    ///
    /// # Errors
    /// As [`Tensor::empty`]; [`Error::Shape`] where `bytes` is not the shape's size.
    pub fn from_bytes(
        backend: &B,
        shape: &[usize],
        dtype: DType,
        kind: MemoryKind,
        bytes: &[u8],
    ) -> Result<Self> {
        let tensor = Self::empty(backend, shape, dtype, kind)?;
        tensor.upload(bytes)?;
        Ok(tensor)
    }

    /// An f32 tensor with these values.
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`].
    pub fn from_f32(backend: &B, shape: &[usize], kind: MemoryKind, values: &[f32]) -> Result<Self> {
        Self::from_bytes(backend, shape, DType::F32, kind, bytemuck::cast_slice(values))
    }

    /// A u32 tensor with these values.
    ///
    /// # Errors
    /// As [`Tensor::from_bytes`].
    pub fn from_u32(backend: &B, shape: &[usize], kind: MemoryKind, values: &[u32]) -> Result<Self> {
        Self::from_bytes(backend, shape, DType::U32, kind, bytemuck::cast_slice(values))
    }

    /// Overwrites all values.
    ///
    /// # Errors
    /// [`Error::Shape`] where `bytes` is not this tensor's size; device errors.
    pub fn upload(&self, bytes: &[u8]) -> Result<()> {
        if bytes.len() != self.size_bytes() {
            return Err(Error::Argument {
                op: "upload",
                what: format!(
                    "{self:?} takes {} bytes, found {}",
                    self.size_bytes(),
                    bytes.len()
                ),
            });
        }
        self.memory
            .backend
            .upload(&self.memory.storage, self.offset, bytes)
    }

    /// Overwrites the bytes from `offset` on, for values that arrive in pieces. Engines take whole 4-byte words: a
    /// piece begins on a multiple of 4, and ends on one or where the tensor ends.
    ///
    /// # Errors
    /// [`Error::Argument`] where the piece ends outside the tensor or inside a word; device errors.
    pub fn upload_part(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        let (size, end) = (self.size_bytes(), offset.saturating_add(bytes.len()));
        if end > size || !offset.is_multiple_of(4) || !(end.is_multiple_of(4) || end == size) {
            return Err(Error::Argument {
                op: "upload",
                what: format!("{self:?} takes no bytes {offset}..{end} of {size}"),
            });
        }
        self.memory
            .backend
            .upload(&self.memory.storage, self.offset + offset as u64, bytes)
    }

    /// The values on the host, once the device has computed them.
    ///
    /// # Errors
    /// Everything that went wrong on the device since the last call.
    pub async fn download(&self) -> Result<Vec<u8>> {
        let range = self.offset..self.offset + self.size_bytes() as u64;
        self.memory.backend.download(&self.memory.storage, range).await
    }

    /// The values of an f32 tensor on the host.
    ///
    /// # Errors
    /// As [`Tensor::download`]; [`Error::DType`].
    pub async fn to_f32(&self) -> Result<Vec<f32>> {
        self.expect_dtype("to_f32", "tensor", &[DType::F32], "f32")?;
        Ok(bytemuck::pod_collect_to_vec(&self.download().await?))
    }

    /// The same memory seen with another shape of the same size.
    ///
    /// # Errors
    /// [`Error::Shape`] where the sizes differ.
    pub fn reshape(&self, shape: &[usize]) -> Result<Self> {
        if shape.iter().product::<usize>() != self.len() {
            return Err(crate::error::shape_error(
                "reshape",
                "tensor",
                format!("{shape:?}"),
                &self.shape,
            ));
        }
        Ok(Self {
            memory: Arc::clone(&self.memory),
            offset: self.offset,
            shape: shape.to_vec(),
        })
    }

    /// A view of the rows `range` of the first dimension. Kernels may bind it only where it starts on the
    /// device's binding alignment.
    ///
    /// # Errors
    /// [`Error::Argument`] where the range ends outside the tensor.
    pub fn rows(&self, range: Range<usize>) -> Result<Self> {
        let rows = self.shape.first().copied().unwrap_or(0);
        if range.start > range.end || range.end > rows {
            return Err(Error::Argument {
                op: "rows",
                what: format!("{range:?} is outside 0..{rows}"),
            });
        }
        let row_bytes = self.size_bytes() / rows.max(1);
        let mut shape = self.shape.clone();
        shape[0] = range.len();
        let offset = self.offset + (range.start * row_bytes) as u64;
        Ok(Self {
            memory: Arc::clone(&self.memory),
            offset,
            shape,
        })
    }

    /// Whether nobody else holds this memory, so that it may be overwritten.
    pub fn is_unique(&self) -> bool {
        Arc::strong_count(&self.memory) == 1
    }

    /// The dimensions, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.memory.dtype
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the elements.
    pub fn size_bytes(&self) -> usize {
        self.len() * self.dtype().size()
    }

    /// The size of the last dimension.
    pub fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The product of all dimensions but the last.
    pub fn leading(&self) -> usize {
        self.shape.iter().rev().skip(1).product()
    }

    /// Where the view starts in its storage, in bytes.
    pub fn offset_bytes(&self) -> u64 {
        self.offset
    }

    /// The engine's memory.
    pub fn storage(&self) -> &B::Storage {
        &self.memory.storage
    }

    /// The device that holds it.
    pub fn backend(&self) -> &B {
        &self.memory.backend
    }

    pub(crate) fn expect_shape(
        &self,
        op: &'static str,
        argument: &'static str,
        shape: &[usize],
    ) -> Result<()> {
        if self.shape == shape {
            return Ok(());
        }
        Err(crate::error::shape_error(
            op,
            argument,
            format!("{shape:?}"),
            &self.shape,
        ))
    }

    pub(crate) fn expect_rank(&self, op: &'static str, argument: &'static str, names: &[&str]) -> Result<()> {
        if self.shape.len() == names.len() && !self.is_empty() {
            return Ok(());
        }
        let expected = format!("[{}] with no dimension 0", names.join(", "));
        Err(crate::error::shape_error(op, argument, expected, &self.shape))
    }

    pub(crate) fn expect_dtype(
        &self,
        op: &'static str,
        argument: &'static str,
        dtypes: &[DType],
        expected: &'static str,
    ) -> Result<()> {
        if dtypes.contains(&self.dtype()) {
            return Ok(());
        }
        Err(Error::DType {
            op,
            argument,
            expected,
            found: self.dtype(),
        })
    }

    /// Checks that it is an activation of a type that the device computes with.
    pub(crate) fn expect_activation(&self, op: &'static str, argument: &'static str) -> Result<()> {
        self.expect_dtype(
            op,
            argument,
            &[DType::F32, DType::F16, DType::BF16],
            "f32, f16 or bf16",
        )?;
        if self.backend().caps().has_activation(self.dtype()) {
            return Ok(());
        }
        let engine = self.backend().info().engine.to_owned();
        Err(Error::Unsupported {
            op,
            what: format!("{argument} in {}", self.dtype()),
            engine,
        })
    }
}
