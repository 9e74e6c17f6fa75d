//! rope, in GB/s of the heads that it reads and writes.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, MemoryKind, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    let [rows, heads, dim] = if is_software(gpu) {
        [512, 9, 64]
    } else {
        [8192, 32, 128]
    };
    let positions: Vec<u32> = (0..rows as u32).collect();
    let positions = Tensor::from_u32(gpu, &[rows], MemoryKind::Activations, &positions)?;
    let table = tensor(gpu, &[rows, dim], DType::F32)?;
    for act in activations(gpu) {
        let shape = [rows, heads, dim];
        let [x, y] = [tensor(gpu, &shape, act)?, tensor(gpu, &shape, act)?];
        let bytes = Throughput::Bytes((2 * rows * heads * dim * act.size()) as u64);
        let name = format!("{act} {rows}x{heads}x{dim}");
        bench(criterion, gpu, ["rope", &name], bytes, || {
            gpu.rope(&x, &positions, &table, false, &y)
        });
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(rope, benches);
criterion_main!(rope);
