//! A device that goes away under everybody. Needs a software adapter: `scripts/setup` installs lavapipe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_engine::{Backend, DType, DeviceSpec, Error, MemoryKind, Result, Tensor, ops};
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use pollster::block_on;

fn lost<T>(result: Result<T>) {
    match result {
        Err(Error::DeviceLost(_)) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("no error"),
    }
}

#[test]
fn every_call_after_the_loss_says_so() {
    let gpu = block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default())).expect("a software adapter");
    let tensor = Tensor::from_f32(&gpu, &[4], MemoryKind::Scratch, &[1.0, 2.0, 3.0, 4.0]).unwrap();
    block_on(gpu.synchronize()).unwrap();
    gpu.destroy();
    for _ in 0..2 {
        lost(Tensor::empty(&gpu, &[4], DType::F32, MemoryKind::Scratch));
        lost(tensor.upload(&[0; 16]));
        lost(block_on(tensor.download()));
        lost(block_on(gpu.synchronize()));
        lost(ops::fill(&tensor, 0.0));
    }
    assert_eq!(gpu.ledger().report().live, 16);
    drop(tensor);
    assert_eq!(gpu.ledger().report().live, 0);
    gpu.destroy();
}

#[test]
fn a_readback_under_way_ends() {
    for _ in 0..20 {
        let gpu =
            block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default())).expect("a software adapter");
        let values = vec![1.0; 1 << 20];
        let tensor = Tensor::from_f32(&gpu, &[1 << 20], MemoryKind::Scratch, &values).unwrap();
        let other = gpu.clone();
        let thread = std::thread::spawn(move || other.destroy());
        match block_on(tensor.to_f32()) {
            Ok(read) => assert!(read == values),
            Err(Error::DeviceLost(_)) => {}
            Err(error) => panic!("{error}"),
        }
        thread.join().unwrap();
        lost(block_on(tensor.download()));
    }
}
