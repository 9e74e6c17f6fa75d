//! What runs in a process that has the stand-ins.

use anylora_engine::self_test::{Outcome, Verdict, self_test};
use anylora_engine::{Backend, DType, Error, MemoryKind, Tensor, ops};
use anylora_engine_burn::Cpu;
use anylora_engine_cuda::{Cuda, OpenOptions};
use pollster::block_on;

#[test]
#[ignore = "the other tests run it in a process that has the stand-ins"]
fn child() {
    let options = OpenOptions {
        poison: true,
        ..OpenOptions::default()
    };
    let index = std::env::var("ANYLORA_CHILD_GPU").ok();
    let index = index.map(|index| index.parse().unwrap());
    let gpu = match Cuda::open(index, options) {
        Ok(gpu) => gpu,
        Err(error) => {
            println!("error: {error}");
            return;
        }
    };
    println!("opened {}, {}", gpu.info().name, gpu.info().driver);
    match std::env::var("ANYLORA_CHILD").as_deref() {
        Ok("open") => {}
        Ok("copy") => copy(&gpu),
        Ok("launch") => launch(&gpu),
        Ok("allocate") => allocate(&gpu),
        Ok("lose") => lose(&gpu),
        Ok("refuse") => refuse(&gpu),
        other => panic!("{other:?}"),
    }
}

fn floats(gpu: &Cuda, values: &[f32]) -> Tensor<Cuda> {
    Tensor::from_f32(gpu, &[values.len()], MemoryKind::Activations, values).unwrap()
}

/// Values are the same after every kind of copy, from every thread.
fn copy(gpu: &Cuda) {
    gpu.reset_pool_peak().unwrap();
    gpu.ledger().reset_peak();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            scope.spawn(move || {
                for round in 0..20u8 {
                    let mut values = vec![f32::from(thread) + 0.5; 100_000];
                    values[7] = f32::from(round);
                    let tensor = floats(gpu, &values);
                    let expected = values.clone();
                    values.fill(-1.0); // they were read
                    let copy = ops::copy(&tensor).unwrap();
                    drop(tensor);
                    let found = block_on(copy.download()).unwrap();
                    assert!(bytemuck::cast_slice::<u8, f32>(&found) == expected);
                }
            });
        }
    });
    assert_eq!(gpu.ledger().report().live, 0);
    block_on(gpu.synchronize()).unwrap();
    println!("copied");
}

/// Every operation, on memory that is poisoned and counted.
fn launch(gpu: &Cuda) {
    gpu.reset_pool_peak().unwrap();
    gpu.ledger().reset_peak();
    let mut count = 0;
    let mut each = |outcome: Outcome| {
        count += 1;
        if let Verdict::Failed(error) = outcome.verdict {
            panic!("{} {}, {}: {error}", outcome.op, outcome.case, outcome.dtype);
        }
    };
    block_on(self_test(gpu, &Cpu::new(None), &mut each));
    assert!(count > 300, "{count}");
    // Beside tensors the engine has its tables of 4-bit weights.
    let (pool, ledger) = (gpu.pool_peak_bytes().unwrap(), gpu.ledger().report().peak);
    assert!((ledger..ledger + 4096).contains(&pool), "{pool} {ledger}");
    println!("launched everything");
}

fn allocate(gpu: &Cuda) {
    let tensor = |bytes: usize| Tensor::<Cuda>::empty(gpu, &[bytes / 4], DType::F32, MemoryKind::Activations);
    let large = tensor(2 << 20).unwrap();
    println!("has {} bytes", large.size_bytes());
    let error = tensor(7 << 20).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. }), "{error}");
    println!("{error}");
    assert_eq!(gpu.ledger().report().live, 2 << 20);
}

fn lose(gpu: &Cuda) {
    let tensor = floats(gpu, &[1.0; 100]);
    let filled = ops::fill(&tensor, 2.0);
    let answer = filled.and_then(|()| block_on(tensor.download()).map(|_| ()));
    let Err(Error::DeviceLost(reason)) = answer else {
        panic!("{answer:?}");
    };
    println!("lost: {reason}");
}

/// A copy whose end nobody could be told of.
fn refuse(gpu: &Cuda) {
    let tensor = Tensor::<Cuda>::empty(gpu, &[100], DType::F32, MemoryKind::Activations).unwrap();
    let uploaded = Tensor::from_f32(gpu, &[100], MemoryKind::Activations, &[1.0; 100]);
    for answer in [uploaded.map(|_| ()), block_on(tensor.download()).map(|_| ())] {
        match answer {
            Ok(()) => println!("copied"),
            Err(Error::Device(reason)) => println!("refused: {reason}"),
            Err(error) => panic!("{error}"),
        }
    }
}
