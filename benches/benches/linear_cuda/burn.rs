//! The same product by burn-cuda.

use anylora_benches::random;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_cuda::CudaDevice;
use half::bf16;

type Device = burn_cuda::Cuda<bf16, i32>;

/// x `[M, K]` and W^T `[K, N]`, as burn's own linear layer stores it.
pub(crate) struct Product {
    x: Tensor<Device, 2>,
    weight: Tensor<Device, 2>,
    device: CudaDevice,
}

impl Product {
    /// On the first GPU.
    pub(crate) fn new([m, n, k]: [usize; 3]) -> Self {
        let device = CudaDevice::default();
        let tensor = |shape: [usize; 2]| {
            let values = random(shape[0] * shape[1]);
            Tensor::from_data(TensorData::new(values, shape), &device)
        };
        Self {
            x: tensor([m, k]),
            weight: tensor([k, n]),
            device,
        }
    }

    /// Queues it.
    pub(crate) fn run(&self) {
        drop(self.x.clone().matmul(self.weight.clone()));
    }

    /// Waits for all.
    pub(crate) fn wait(&self) {
        let answer = Device::sync(&self.device);
        assert!(answer.is_ok(), "{answer:?}");
    }
}
