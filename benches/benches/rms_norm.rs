//! rms_norm and its backward, in GB/s of the rows that they read (once) and write.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    let [rows, columns] = if is_software(gpu) {
        [512, 576]
    } else {
        [8192, 4096]
    };
    let weight = tensor(gpu, &[columns], DType::F32)?;
    for act in activations(gpu) {
        let shape = [rows, columns];
        let [x, dy, y] = [
            tensor(gpu, &shape, act)?,
            tensor(gpu, &shape, act)?,
            tensor(gpu, &shape, act)?,
        ];
        let bytes = |tensors: usize| Throughput::Bytes((tensors * rows * columns * act.size()) as u64);
        let name = |direction: &str| format!("{direction} {act} {rows}x{columns}");
        bench(criterion, gpu, ["rms_norm", &name("forward")], bytes(2), || {
            gpu.rms_norm(&x, &weight, 1e-5, &y)
        });
        bench(criterion, gpu, ["rms_norm", &name("backward")], bytes(3), || {
            gpu.rms_norm_backward(&x, &weight, 1e-5, &dy, &y)
        });
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(rms_norm, benches);
criterion_main!(rms_norm);
