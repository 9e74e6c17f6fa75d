//! embedding, in GB/s of the rows that it reads and writes.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, MemoryKind, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    let [rows, vocab, columns] = if is_software(gpu) {
        [512, 4096, 576]
    } else {
        [8192, 32_768, 4096]
    };
    // Spread over the table as token ids are.
    let ids: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocab) as u32).collect();
    let ids = Tensor::from_u32(gpu, &[rows], MemoryKind::Activations, &ids)?;
    for act in activations(gpu) {
        let out = tensor(gpu, &[rows, columns], act)?;
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let table = tensor(gpu, &[vocab, columns], dtype)?.into();
            let bytes = Throughput::Bytes((rows * columns * (dtype.size() + act.size())) as u64);
            let name = format!("{dtype} to {act} {rows}x{columns}");
            bench(criterion, gpu, ["embedding", &name], bytes, || {
                gpu.embedding(&ids, &table, &out)
            });
        }
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(embedding, benches);
criterion_main!(embedding);
