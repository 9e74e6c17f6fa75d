//! add, scale, cast and fill, in GB/s of what they read and write.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, Result, ops};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    let len = if is_software(gpu) { 1 << 20 } else { 1 << 26 };
    let bytes = |each: usize| Throughput::Bytes((len * each) as u64);
    for act in activations(gpu) {
        let [a, b, out] = [
            tensor(gpu, &[len], act)?,
            tensor(gpu, &[len], act)?,
            tensor(gpu, &[len], act)?,
        ];
        let size = act.size();
        let name = |op: &str| format!("{op} {act}");
        bench(
            criterion,
            gpu,
            ["elementwise", &name("add")],
            bytes(3 * size),
            || gpu.add(&a, &b, &out),
        );
        bench(
            criterion,
            gpu,
            ["elementwise", &name("add_assign")],
            bytes(3 * size),
            || ops::add_assign(&a, &b),
        );
        bench(
            criterion,
            gpu,
            ["elementwise", &name("scale")],
            bytes(2 * size),
            || ops::scale(&a, 1.0),
        );
        bench(
            criterion,
            gpu,
            ["elementwise", &name("fill")],
            bytes(size),
            || ops::fill(&a, 1.0),
        );
        for from in [DType::F32, DType::F16, DType::BF16] {
            let x = tensor(gpu, &[len], from)?;
            let name = format!("cast {from} to {act}");
            bench(
                criterion,
                gpu,
                ["elementwise", &name],
                bytes(from.size() + size),
                || gpu.cast(&x, &out),
            );
        }
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(elementwise, benches);
criterion_main!(elementwise);
