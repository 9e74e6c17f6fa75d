//! On a GPU. Where CUDA finds none, opening says why, and there is nothing else to test.

use anylora_engine::{Backend, DType, MemoryKind, Tensor, ops};
use anylora_engine_cuda::{Cuda, OpenError, OpenOptions};
use pollster::block_on;

/// The first GPU with poisoned memory; `None` and a line that says why where there is none. With `ANYLORA_DEVICE` set,
/// as scripts/check-gpu does, there has to be one.
fn gpu() -> Option<Cuda> {
    let options = OpenOptions {
        poison: true,
        ..OpenOptions::default()
    };
    match Cuda::open(None, options) {
        Ok(gpu) => Some(gpu),
        Err(error) => {
            let wanted = std::env::var_os("ANYLORA_DEVICE").is_some();
            assert!(error.is_absent() && !wanted, "{error}");
            println!("not tested on a GPU: {error}");
            None
        }
    }
}

#[test]
fn what_is_missing_is_an_error_with_a_hint() {
    for index in [None, Some(0), Some(1000)] {
        let Err(error) = Cuda::open(index, OpenOptions::default()) else {
            continue;
        };
        let text = error.to_string();
        assert!(text.contains("`"), "{text}");
        if let OpenError::NoDriver = error {
            assert!(text.contains("libcuda"), "{text}");
        }
    }
}

#[test]
fn the_self_test_passes() {
    if let Some(gpu) = gpu() {
        crate::emulated::passes(&gpu);
    }
}

/// The driver's pool rounds allocations up; it holds the ledger's peak, and at most a granule of 2 MiB an allocation
/// more.
#[test]
fn the_pool_holds_what_the_ledger_counts() {
    let Some(gpu) = gpu() else { return };
    gpu.reset_pool_peak().unwrap();
    gpu.ledger().reset_peak();
    let shape = [1024, 1024];
    let tensor = || Tensor::<Cuda>::empty(&gpu, &shape, DType::F32, MemoryKind::Activations).unwrap();
    for _ in 0..4 {
        let (a, b) = (tensor(), tensor());
        ops::fill(&a, 1.0).unwrap();
        ops::fill(&b, 2.0).unwrap();
        block_on(ops::add(&a, &b).unwrap().download()).unwrap();
    }
    let (ledger, pool) = (gpu.ledger().report().peak, gpu.pool_peak_bytes().unwrap());
    assert_eq!(ledger, 3 << 22);
    assert!((ledger..=ledger + (4 << 21)).contains(&pool), "{ledger} {pool}");
}
