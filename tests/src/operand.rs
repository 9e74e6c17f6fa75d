use anylora_engine::{Backend, DType, MemoryKind, Tensor};
use anylora_engine_burn::reference::{self, Oracle};
use burn::tensor::{Int, Tensor as BurnTensor};

use crate::{decode, encode, rounded, uniform, uniform_integers};

/// Floats on the host, exact in `dtype`.
#[derive(Clone, Debug)]
pub struct Operand<const D: usize> {
    /// The dimensions, outermost first.
    pub shape: [usize; D],
    /// What engines store it in; the reference has the same values in f32.
    pub dtype: DType,
    /// In row-major order.
    pub values: Vec<f32>,
}

impl<const D: usize> Operand<D> {
    /// These values, rounded to `dtype`.
    pub fn new(shape: [usize; D], dtype: DType, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{shape:?}");
        let values = rounded(dtype, &values);
        Self { shape, dtype, values }
    }

    /// Values in -1..1 that depend on `seed` and the place only.
    pub fn random(seed: u64, shape: [usize; D], dtype: DType) -> Self {
        Self::new(shape, dtype, uniform(seed, shape.iter().product()))
    }

    /// As an engine's tensor.
    #[track_caller]
    pub fn on<B: Backend>(&self, device: &B) -> Tensor<B> {
        upload(device, &self.shape, self.dtype, &encode(self.dtype, &self.values))
    }

    /// As a view of a larger tensor, at the first place after its start that the device can bind, with NaN around.
    #[track_caller]
    pub fn view_on<B: Backend>(&self, device: &B) -> Tensor<B> {
        upload_view(device, &self.shape, self.dtype, &encode(self.dtype, &self.values))
    }

    /// As a leaf of the reference that tracks its gradient.
    pub fn leaf(&self) -> BurnTensor<Oracle, D> {
        reference::floats(&self.values, self.shape, &Default::default()).require_grad()
    }
}

/// Integers on the host.
#[derive(Clone, Debug)]
pub struct Indices<const D: usize> {
    /// The dimensions, outermost first.
    pub shape: [usize; D],
    /// [`DType::U32`] or [`DType::I32`].
    pub dtype: DType,
    /// In row-major order; a u32 past i32's range wraps.
    pub values: Vec<i32>,
}

impl<const D: usize> Indices<D> {
    /// Token ids, positions, segments: u32.
    pub fn unsigned(shape: [usize; D], values: &[u32]) -> Self {
        let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{shape:?}");
        Self {
            shape,
            dtype: DType::U32,
            values,
        }
    }

    /// Labels: i32.
    pub fn signed(shape: [usize; D], values: &[i32]) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{shape:?}");
        Self {
            shape,
            dtype: DType::I32,
            values: values.to_vec(),
        }
    }

    /// u32 below `below`, which depend on `seed` and the place only.
    pub fn random(seed: u64, shape: [usize; D], below: u32) -> Self {
        Self::unsigned(shape, &uniform_integers(seed, shape.iter().product(), below))
    }

    /// As an engine's tensor.
    #[track_caller]
    pub fn on<B: Backend>(&self, device: &B) -> Tensor<B> {
        upload(
            device,
            &self.shape,
            self.dtype,
            bytemuck::cast_slice(&self.values),
        )
    }

    /// As a view of a larger tensor, at the first place after its start that the device can bind.
    #[track_caller]
    pub fn view_on<B: Backend>(&self, device: &B) -> Tensor<B> {
        upload_view(
            device,
            &self.shape,
            self.dtype,
            bytemuck::cast_slice(&self.values),
        )
    }

    /// As the reference's integers.
    pub fn leaf(&self) -> BurnTensor<Oracle, D, Int> {
        reference::integers(&self.values, self.shape, &Default::default())
    }
}

/// The values of a tensor of any float type, in f32.
#[track_caller]
pub fn read<B: Backend>(tensor: &Tensor<B>) -> Vec<f32> {
    decode(tensor.dtype(), &download(tensor))
}

#[track_caller]
pub(crate) fn download<B: Backend>(tensor: &Tensor<B>) -> Vec<u8> {
    pollster::block_on(tensor.download()).expect("the values are read back")
}

#[track_caller]
fn upload<B: Backend>(device: &B, shape: &[usize], dtype: DType, bytes: &[u8]) -> Tensor<B> {
    Tensor::from_bytes(device, shape, dtype, MemoryKind::Activations, bytes).expect("the values are uploaded")
}

#[track_caller]
fn upload_view<B: Backend>(device: &B, shape: &[usize], dtype: DType, bytes: &[u8]) -> Tensor<B> {
    let row_bytes = bytes.len() / shape[0];
    let before = rows_before(row_bytes);
    // Rows after the view up to a whole row that ends on a word.
    let after = before;
    let mut all = vec![0xFF; (before + after) * row_bytes + bytes.len()];
    all[before * row_bytes..][..bytes.len()].copy_from_slice(bytes);
    let mut whole = shape.to_vec();
    whole[0] += before + after;
    upload(device, &whole, dtype, &all)
        .rows(before..before + shape[0])
        .expect("within the tensor")
}

/// The fewest rows after which a binding may start: at a multiple of 256 bytes.
pub(crate) fn rows_before(row_bytes: usize) -> usize {
    let mut rows = 1;
    while !(rows * row_bytes).is_multiple_of(256) {
        rows += 1;
    }
    rows
}
