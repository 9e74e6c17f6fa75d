use burn::backend::{Autodiff, Flex};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{DType, Int, Tensor, TensorData};

/// The backend that differentiates the reference: f32 on the CPU.
pub type Oracle = Autodiff<Flex>;

/// An f32 tensor of these values in row-major order.
pub fn floats<B: Backend, const D: usize>(
    values: &[f32],
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F32))
}

/// An i32 tensor of these values in row-major order.
pub fn integers<B: Backend, const D: usize>(
    values: &[i32],
    shape: [usize; D],
    device: &B::Device,
) -> Tensor<B, D, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::I32))
}

/// The values of an f32 tensor in row-major order; empty where it holds another type.
pub fn to_vec<B: Backend, const D: usize>(tensor: &Tensor<B, D>) -> Vec<f32> {
    tensor.to_data().into_vec().unwrap_or_default()
}

/// The gradient of a leaf in row-major order; empty where the leaf takes no part in what was differentiated.
pub fn gradient<B: AutodiffBackend, const D: usize>(
    leaf: &Tensor<B, D>,
    gradients: &B::Gradients,
) -> Vec<f32> {
    leaf.grad(gradients)
        .map_or_else(Vec::new, |gradient| to_vec(&gradient))
}
