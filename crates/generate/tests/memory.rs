//! A conversation that is kept between answers gives what reading it anew gives.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_engine_burn::Cpu;
use anylora_generate::{Memory, Session};
use anylora_models::{LoadOptions, Loader, adapters};

#[test]
fn a_session_goes_on_from_its_memory() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tiny/tiny-llama");
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let model = Loader::load(&Cpu::new(None), &checkpoint, LoadOptions::default(), |_, _| {}).unwrap();
    let adapter = Adapter::open(&folder.join("reference/lora_f32_adapter_final")).unwrap();
    let adapter = adapters(model.backend(), &model.config, &adapter, false).unwrap();
    let prompt: Vec<u32> = (5..25).collect();
    for adapters in [None, Some(adapter.scaled(0.5))] {
        let adapters = adapters.as_ref();
        let whole = pollster::block_on(Session::new(&model, adapters).read(&prompt, 0)).unwrap();
        let mut session = Session::resume(&model, adapters, Memory::default());
        pollster::block_on(session.read(&prompt[..18], 10)).unwrap();
        let mut session = Session::resume(&model, adapters, session.into_memory());
        assert_eq!(session.tokens(), &prompt[..18]);
        let kept = pollster::block_on(session.read(&prompt, 0)).unwrap();
        let largest = whole
            .iter()
            .fold(0.0f32, |largest, value| largest.max(value.abs()));
        let difference = whole.iter().zip(&kept).map(|(a, b)| (a - b).abs());
        assert!(difference.fold(0.0, f32::max) <= 1e-5 * largest);
    }
    // Half of an adapter is neither all of it nor none.
    let logits = |factor: f32| {
        let scaled = adapter.scaled(factor);
        pollster::block_on(Session::new(&model, Some(&scaled)).read(&prompt, 0)).unwrap()
    };
    let base = pollster::block_on(Session::new(&model, None).read(&prompt, 0)).unwrap();
    assert_ne!(logits(0.5), logits(1.0));
    assert_ne!(logits(0.5), base);
    assert_eq!(logits(0.0), base);
}
