//! adamw, in GB/s: four tensors read, three written.

use anylora_benches::{bench, is_software, on_device, tensor};
use anylora_engine::{AdamW, Backend, DType, Result};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    // An adapter matrix, and as many elements as take the time of their memory.
    let sizes: &[usize] = if is_software(gpu) {
        &[16 * 576, 1 << 20]
    } else {
        &[16 * 4096, 1 << 24]
    };
    for &len in sizes {
        let new = || tensor(gpu, &[len], DType::F32);
        let [param, grad, m, v] = [new()?, new()?, new()?, new()?];
        let bytes = Throughput::Bytes((7 * len * 4) as u64);
        bench(criterion, gpu, ["adamw", &len.to_string()], bytes, || {
            gpu.adamw(AdamW {
                param: &param,
                grad: &grad,
                m: &m,
                v: &v,
                step: 3,
                lr: 1e-4,
                betas: (0.9, 0.999),
                eps: 1e-8,
                weight_decay: 0.01,
                grad_scale: 1.0,
            })
        });
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(adamw, benches);
criterion_main!(adamw);
