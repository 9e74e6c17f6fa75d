//! lora_down and lora_grad, in GFLOP/s: `2 M K r` of a product, whatever dropout costs.

use anylora_benches::{activations, bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, Dropout, LoraDown, LoraGrad, Result, Side};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const DROPOUT: Dropout = Dropout {
    p: 0.1,
    seed: 1,
    step: 2,
    layer: 3,
};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    // `[M, K, r]`: a token, a short sequence, a long batch; a low rank and a high one.
    let shapes: &[[usize; 3]] = if is_software(gpu) {
        &[[1, 2048, 16], [256, 576, 16]]
    } else {
        &[
            [1, 4096, 16],
            [512, 4096, 16],
            [4096, 4096, 16],
            [4096, 4096, 64],
            [4096, 14_336, 16],
        ]
    };
    for act in activations(gpu) {
        for &[m, k, r] in shapes {
            let wide = tensor(gpu, &[m, k], act)?;
            let thin = tensor(gpu, &[m, r], DType::F32)?;
            let matrix = tensor(gpu, &[r, k], DType::F32)?;
            let flops = Throughput::Elements((2 * m * k * r) as u64);
            for (side, dropout) in [(Side::A, None), (Side::A, Some(DROPOUT)), (Side::B, None)] {
                let matrix = match side {
                    Side::A => matrix.clone(),
                    Side::B => matrix.reshape(&[k, r])?,
                };
                let dropped = if dropout.is_some() { " dropout" } else { "" };
                let name = format!("{side:?}{dropped} {act} {m}x{k} r={r}");
                bench(criterion, gpu, ["lora_down", &name], flops.clone(), || {
                    gpu.lora_down(LoraDown {
                        x: &wide,
                        matrix: &matrix,
                        side,
                        scale: 2.0,
                        dropout,
                        out: &thin,
                    })
                });
                bench(criterion, gpu, ["lora_grad", &name], flops.clone(), || {
                    gpu.lora_grad(LoraGrad {
                        thin: &thin,
                        wide: &wide,
                        side,
                        dropout,
                        grad: &matrix,
                    })
                });
            }
        }
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(lora, benches);
criterion_main!(lora);
