//! The host's peak while a model is quantized as it loads: under the packed model and two of its largest tensors.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use anylora_checkpoint::{FloatType, ModelConfig, StoredTensor, Values};
use anylora_engine::Backend;
use anylora_engine_burn::Cpu;
use anylora_models::{LoadOptions, Loader, Quantization, layout};

/// Counts live bytes and their peak. The CPU engine's device memory is host memory, so that it counts too.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the caller's own arguments; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        PEAK.fetch_max(live, Ordering::SeqCst);
        // SAFETY: the caller's contract is that of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::SeqCst);
        // SAFETY: the pointer came out of `alloc` above with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A model large enough that its tensors and not the bookkeeping decide: 2 blocks of 1024, MLP 4096, stored in bf16.
#[test]
fn peak_host_memory_while_quantizing() {
    let config = ModelConfig::from_json(
        br#"{"model_type":"llama","hidden_size":1024,"intermediate_size":4096,"num_hidden_layers":2,
            "num_attention_heads":16,"num_key_value_heads":4,"vocab_size":512,"tie_word_embeddings":true}"#,
    )
    .unwrap();
    let specs = layout(&config).unwrap();
    let largest = specs
        .iter()
        .map(|spec| spec.shape.iter().product::<usize>() * 2)
        .max()
        .unwrap();
    // The file: mapped by a real checkpoint, so that it is no part of the peak.
    let file: Vec<u8> = (0..largest / 2)
        .flat_map(|i| half::bf16::from_f32((i as f32 * 0.37).sin()).to_le_bytes())
        .collect();
    let options = LoadOptions {
        quantization: Some(Quantization::nf4()),
        ..LoadOptions::default()
    };
    let backend = Cpu::new(None);
    let before = LIVE.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let mut loader = Loader::new(&backend, &config, options).unwrap();
    for spec in &specs {
        let bytes = spec.shape.iter().product::<usize>() * 2;
        let values = Values::Dense {
            dtype: FloatType::BF16,
            bytes: file[..bytes].into(),
        };
        let shape = spec.shape.clone();
        loader.insert(&spec.name, StoredTensor { shape, values }).unwrap();
    }
    let model = loader.finish().unwrap();
    let peak = PEAK.load(Ordering::SeqCst) - before;
    let packed = backend.ledger().report().live as usize;
    assert!(packed > 12 << 20, "{packed}");
    assert!(
        peak < packed + 2 * largest,
        "peak {peak}, packed model {packed}, largest tensor {largest}"
    );
    println!("peak {peak}, packed model {packed}, largest tensor {largest}");
    drop(model);
}
