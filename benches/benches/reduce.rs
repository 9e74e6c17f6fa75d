//! reduce, in GB/s of what it reads: the sums of squares of the global gradient norm.

use anylora_benches::{bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const CHUNK: usize = 4096;

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    let len = if is_software(gpu) { 1 << 20 } else { 1 << 24 };
    let x = tensor(gpu, &[1, len], DType::F32)?;
    let out = tensor(gpu, &[1, len / CHUNK], DType::F32)?;
    let bytes = Throughput::Bytes((len * 4) as u64);
    bench(
        criterion,
        gpu,
        ["reduce", &format!("squares {len}")],
        bytes,
        || gpu.reduce(&x, true, CHUNK, &out, 0),
    );
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(reduce, benches);
criterion_main!(reduce);
