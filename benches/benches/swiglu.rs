//! swiglu and its backward, in GB/s of what they read and write.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::{Backend, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    let shape = if is_software(gpu) {
        [512, 1536]
    } else {
        [8192, 11_008]
    };
    let [rows, columns] = shape;
    for act in activations(gpu) {
        let new = || tensor(gpu, &shape, act);
        let [gate, up, dy, dgate, dup] = [new()?, new()?, new()?, new()?, new()?];
        let bytes = |tensors: usize| Throughput::Bytes((tensors * rows * columns * act.size()) as u64);
        let name = |direction: &str| format!("{direction} {act} {rows}x{columns}");
        bench(criterion, gpu, ["swiglu", &name("forward")], bytes(3), || {
            gpu.swiglu(&gate, &up, &dgate)
        });
        bench(criterion, gpu, ["swiglu", &name("backward")], bytes(5), || {
            gpu.swiglu_backward(&gate, &up, &dy, &dgate, &dup)
        });
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(swiglu, benches);
criterion_main!(swiglu);
