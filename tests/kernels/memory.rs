//! The dry backend's books against a device's: what `plan` promises. Both run the same code, so their peaks agree byte
//! for byte, kind by kind, and the device holds no more than its peak.

use anylora_engine::{Backend, DType, Dry, MemoryKind, MemoryReport, Result, Tensor, ops};
use anylora_tests::{activations, cpu, wgpu_with};

use crate::block::Block;

/// Two steps of the block, and single operations whose results and scratch overlap. Returns the books at the end, with
/// what is kept still alive.
fn script<B: Backend>(device: &B, act: DType) -> Result<MemoryReport> {
    let block = Block::new(device, act)?;
    let first = block.step()?;
    drop(block.step()?);
    let loss = ops::copy(&first.loss)?;
    let wide = ops::cast(&loss, act)?;
    let sum = ops::add(&wide, &wide)?;
    ops::scale(&sum, 0.5)?;
    let odd = Tensor::empty(device, &[3, 7], act, MemoryKind::Scratch)?;
    ops::fill(&odd, 1.0)?;
    let norms = ops::sum_squares(&block.gradients().collect::<Vec<_>>())?;
    Ok([norms, sum]
        .first()
        .map_or_else(MemoryReport::default, |kept| kept.backend().ledger().report()))
}

#[test]
fn a_dry_run_has_the_devices_peak() {
    plans(&wgpu_with(|_| {}));
}

/// There the driver counts too: it holds the ledger's bytes, and what it rounds up.
#[cfg(feature = "cuda")]
#[test]
fn a_dry_run_has_cudas_peak() {
    let Some(gpu) = anylora_tests::new_cuda() else {
        return;
    };
    gpu.reset_pool_peak().unwrap();
    plans(&gpu);
    let (ledger, pool) = (gpu.ledger().report().peak, gpu.pool_peak_bytes().unwrap());
    assert!(
        (ledger..=2 * ledger + (8 << 20)).contains(&pool),
        "{ledger} {pool}"
    );
}

fn plans<B: Backend>(gpu: &B) {
    for act in activations(gpu) {
        gpu.ledger().reset_peak();
        let found = script(gpu, act).unwrap();
        let planned = script(&Dry::new(*gpu.caps(), None), act).unwrap();
        assert_eq!(planned, found, "{act}");
        assert_eq!(planned.peak, planned.peak_by_kind.iter().sum::<u64>());
        for kind in MemoryKind::ALL {
            assert!(planned.peak_of(kind) > 0, "{kind} is no part of the peak");
        }
        assert_eq!(gpu.ledger().report().live, 0, "something is left");
    }
}

#[test]
fn a_dry_run_has_the_cpu_engines_peak() {
    let cpu = cpu();
    let found = script(&cpu, DType::F32).unwrap();
    assert_eq!(script(&Dry::new(*cpu.caps(), None), DType::F32).unwrap(), found);
    assert_eq!(cpu.ledger().report().live, 0);
}

#[test]
fn a_second_step_allocates_nothing_new() {
    let gpu = wgpu_with(|_| {});
    let block = Block::new(&gpu, DType::F32).unwrap();
    drop(block.step().unwrap());
    let (held, report) = (gpu.reserved_bytes(), gpu.ledger().report());
    for _ in 0..3 {
        drop(block.step().unwrap());
        assert_eq!(gpu.reserved_bytes(), held);
        assert_eq!(gpu.ledger().report(), report);
    }
}
