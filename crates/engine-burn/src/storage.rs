//! One allocation: a cell that the operation which writes it gives a value.
//!
//! f32 values stay in the form in which they were last used, a burn tensor or host memory. On burn-flex changing
//! between the two copies nothing, so that a product (burn) and an elementwise loop (host) share memory; on a
//! device of its own it is a transfer. All other types are bytes on the host.

use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anylora_engine::{DType, Error, Result};
use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, DType as BurnType, Tensor, TensorData};

/// What a [`Storage`] holds.
enum Value<B: Backend> {
    /// Nothing was written yet.
    Empty,
    /// f32 of all elements, with burn, in one dimension.
    Tensor(Tensor<B, 1>),
    /// f32 of all elements, on the host.
    Floats(Arc<Bytes>),
    /// All elements of another type.
    Bytes(Arc<Vec<u8>>),
}

/// The memory of an engine tensor. It takes no room before it is written.
pub struct Storage<B: Backend> {
    value: Mutex<Value<B>>,
    len: usize,
    dtype: DType,
    device: B::Device,
}

/// A range of f32 values on the host.
pub(crate) struct Floats {
    bytes: Arc<Bytes>,
    range: Range<usize>,
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.bytes)[self.range.clone()]
    }
}

/// What becomes of the elements around those that an operation writes, where nothing was written yet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The operation reads what it writes: an error that names it.
    Error(&'static str),
    /// They become zeros.
    Zeros,
}

impl<B: Backend> Storage<B> {
    pub(crate) fn new(len: usize, dtype: DType, device: B::Device) -> Self {
        Self {
            value: Mutex::new(Value::Empty),
            len,
            dtype,
            device,
        }
    }

    /// Elements of the whole allocation.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// All f32 values with burn, `[len]`.
    pub(crate) fn tensor(&self, op: &'static str) -> Result<Tensor<B, 1>> {
        let mut value = self.lock();
        let tensor = match std::mem::replace(&mut *value, Value::Empty) {
            Value::Empty => return Err(Error::Uninitialised(op)),
            Value::Tensor(tensor) => tensor,
            Value::Floats(bytes) => {
                let bytes = Arc::try_unwrap(bytes).unwrap_or_else(|shared| (*shared).clone());
                let data = TensorData::from_bytes(bytes, [self.len], BurnType::F32);
                Tensor::from_data(data, (&self.device, BurnType::F32))
            }
            Value::Bytes(bytes) => {
                *value = Value::Bytes(bytes);
                return Err(wrong_type(op));
            }
        };
        *value = Value::Tensor(tensor.clone());
        Ok(tensor)
    }

    /// f32 values of a range of elements on the host.
    pub(crate) fn floats(&self, op: &'static str, range: Range<usize>) -> Result<Floats> {
        let mut value = self.lock();
        let bytes = self
            .take_floats(op, &mut value)?
            .ok_or(Error::Uninitialised(op))?;
        *value = Value::Floats(Arc::clone(&bytes));
        Ok(Floats { bytes, range })
    }

    /// Changes f32 values of a range of elements in place.
    pub(crate) fn update(
        &self,
        op: &'static str,
        range: Range<usize>,
        missing: Missing,
        change: impl FnOnce(&mut [f32]),
    ) -> Result<()> {
        let mut value = self.lock();
        let mut bytes = match (self.take_floats(op, &mut value)?, missing) {
            (Some(bytes), _) => bytes,
            (None, Missing::Zeros) => Arc::new(Bytes::from_elems(vec![0f32; self.len])),
            (None, Missing::Error(op)) => return Err(Error::Uninitialised(op)),
        };
        if Arc::get_mut(&mut bytes).is_none() {
            bytes = Arc::new((*bytes).clone());
        }
        if let Some(bytes) = Arc::get_mut(&mut bytes) {
            change(&mut bytemuck::cast_slice_mut(bytes)[range]);
        }
        *value = Value::Floats(bytes);
        Ok(())
    }

    /// Writes f32 values from element `start` on, with burn's memory itself where they are all.
    pub(crate) fn write(&self, op: &'static str, start: usize, bytes: Bytes) -> Result<()> {
        if bytes.len() == self.len * 4 {
            *self.lock() = Value::Floats(Arc::new(bytes));
            return Ok(());
        }
        let values: &[f32] = bytemuck::cast_slice(&bytes);
        let range = start..start + values.len();
        self.update(op, range, Missing::Zeros, |out| out.copy_from_slice(values))
    }

    /// The bytes of a tensor of another type than f32.
    pub(crate) fn bytes(&self, op: &'static str) -> Result<Arc<Vec<u8>>> {
        match &*self.lock() {
            Value::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Value::Empty => Err(Error::Uninitialised(op)),
            Value::Tensor(_) | Value::Floats(_) => Err(wrong_type(op)),
        }
    }

    /// Overwrites bytes of any type from byte `offset` on; what was never written around them becomes zeros.
    pub(crate) fn write_raw(&self, op: &'static str, offset: usize, bytes: &[u8]) -> Result<()> {
        let size = self.len * self.dtype.size();
        if offset + bytes.len() > size {
            let what = format!("{} bytes at {offset} end past {size}", bytes.len());
            return Err(Error::Argument { op, what });
        }
        if self.dtype == DType::F32 {
            let values = bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
            return self.write(op, offset / 4, Bytes::from_elems(values));
        }
        let value = &mut *self.lock();
        if bytes.len() == size {
            *value = Value::Bytes(Arc::new(bytes.to_vec()));
            return Ok(());
        }
        if !matches!(value, Value::Bytes(_)) {
            *value = Value::Bytes(Arc::new(vec![0; size]));
        }
        if let Value::Bytes(held) = value {
            Arc::make_mut(held)[offset..offset + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Bytes of any type.
    pub(crate) fn read_raw(&self, op: &'static str, range: Range<usize>) -> Result<Vec<u8>> {
        if self.dtype == DType::F32 {
            let floats = self.floats(op, 0..self.len)?;
            return Ok(bytemuck::cast_slice(&floats)[range].to_vec());
        }
        Ok(self.bytes(op)?[range].to_vec())
    }

    /// Takes the other's values, all of them, without a copy until one of the two changes.
    pub(crate) fn share(&self, op: &'static str, other: &Self) -> Result<()> {
        let value = match &*other.lock() {
            Value::Empty => return Err(Error::Uninitialised(op)),
            Value::Tensor(tensor) => Value::Tensor(tensor.clone()),
            Value::Floats(bytes) => Value::Floats(Arc::clone(bytes)),
            Value::Bytes(bytes) => Value::Bytes(Arc::clone(bytes)),
        };
        *self.lock() = value;
        Ok(())
    }

    /// Takes the f32 values out on the host, or None where there are none yet.
    fn take_floats(&self, op: &'static str, value: &mut Value<B>) -> Result<Option<Arc<Bytes>>> {
        match std::mem::replace(value, Value::Empty) {
            Value::Empty => Ok(None),
            Value::Tensor(tensor) => Ok(Some(Arc::new(into_bytes(tensor)?))),
            Value::Floats(bytes) => Ok(Some(bytes)),
            Value::Bytes(bytes) => {
                *value = Value::Bytes(bytes);
                Err(wrong_type(op))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Value<B>> {
        // A panic elsewhere leaves a cell that holds a value or none, and none is reported when it is read.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host memory of a burn tensor: its own on burn-flex, where nothing else holds it.
pub(crate) fn into_bytes<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Bytes> {
    let data = tensor
        .try_into_data()
        .map_err(|error| Error::Device(error.to_string()))?;
    Ok(data.into_bytes())
}

fn wrong_type(op: &'static str) -> Error {
    Error::Device(format!(
        "{op}: an f32 tensor was taken for one of another type, or the reverse"
    ))
}
