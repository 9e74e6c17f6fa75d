//! cross_entropy, in GB/s: the loss reads the logits once, the gradient reads them again and writes them.

use anylora_benches::{bench, is_software, on_device, tensor};
use anylora_engine::{Backend, DType, MemoryKind, Result, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn run<B: Backend>(criterion: &mut Criterion, gpu: &B) -> Result<()> {
    // A chunk of `head_loss`: 64 MiB, or 128 rows.
    let shapes: &[[usize; 2]] = if is_software(gpu) {
        &[[32, 49_152]]
    } else {
        &[[256, 49_152], [128, 128_256], [128, 50_257]]
    };
    for &[rows, vocab] in shapes {
        let logits = tensor(gpu, &[rows, vocab], DType::F32)?;
        let stats = tensor(gpu, &[2, rows], DType::F32)?;
        let labels = bytemuck::cast_slice::<i32, u8>(&vec![7; rows]).to_vec();
        let labels = Tensor::from_bytes(gpu, &[rows], DType::I32, MemoryKind::Activations, &labels)?;
        for (direction, grad_scale, passes) in [("loss", None, 1), ("loss and gradient", Some(1e-3), 3)] {
            let bytes = Throughput::Bytes((passes * rows * vocab * 4) as u64);
            let name = format!("{direction} {rows}x{vocab}");
            bench(criterion, gpu, ["cross_entropy", &name], bytes, || {
                gpu.cross_entropy(&logits, &labels, grad_scale, &stats, 0)
            });
        }
    }
    Ok(())
}

fn benches(criterion: &mut Criterion) {
    let result = on_device!(|gpu| run(criterion, gpu));
    assert!(result.is_ok(), "{result:?}");
}

criterion_group!(cross_entropy, benches);
criterion_main!(cross_entropy);
