//! The same product by burn-wgpu.

use anylora_benches::random;
use burn::tensor::{Tensor, TensorData};
use burn_wgpu::WgpuDevice;

type Device = burn_wgpu::Wgpu<f32, i32, u32>;

/// x `[M, K]` and W^T `[K, N]`, as burn's own linear layer stores it.
pub(crate) struct Product {
    x: Tensor<Device, 2>,
    weight: Tensor<Device, 2>,
}

impl Product {
    /// On an adapter of the kind that is asked for.
    pub(crate) fn new(software: bool, [m, n, k]: [usize; 3]) -> Self {
        let device = match software {
            true => WgpuDevice::Cpu,
            false => WgpuDevice::DefaultDevice,
        };
        let tensor = |shape: [usize; 2]| {
            let values = random(shape[0] * shape[1]);
            Tensor::from_data(TensorData::new(values, shape), &device)
        };
        Self {
            x: tensor([m, k]),
            weight: tensor([k, n]),
        }
    }

    /// Multiplies, and brings the values to the host: burn is lazy.
    pub(crate) fn run(&self) {
        let y = self.x.clone().matmul(self.weight.clone());
        std::hint::black_box(y.into_data());
    }
}
