//! The logits of token ids on the CPU engine, for comparing with another implementation (tests/parity/peft_adapters.py).
//!
//! `cargo run --release -p anylora-generate --example logits -- MODEL nf4|none ADAPTER|none IDS OUT`
//!
//! IDS holds `input_ids` `[B, T]` I64, OUT gets `logits` `[B, T, V]` F32; both are safetensors files.

use std::path::Path;

use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_engine::Backend;
use anylora_engine_burn::Cpu;
use anylora_models::{LoadOptions, Loader, Quantization, adapters};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, quant, adapter, ids, out] = arguments.as_slice() else {
        return Err("expected MODEL nf4|none ADAPTER|none IDS OUT".into());
    };
    let quantization = match quant.as_str() {
        "nf4" => Some(Quantization::nf4()),
        "none" => None,
        other => return Err(format!("expected nf4 or none, found {other}").into()),
    };
    let bytes = std::fs::read(ids)?;
    let stored = SafeTensors::deserialize(&bytes)?;
    let view = stored.tensor("input_ids")?;
    let (Dtype::I64, &[batch, time]) = (view.dtype(), view.shape()) else {
        return Err(format!("input_ids should be I64 [B, T], found {view:?}").into());
    };
    let ids: Vec<i64> = bytemuck::pod_collect_to_vec(view.data());
    let ids: Vec<u32> = ids.into_iter().map(u32::try_from).collect::<Result<_, _>>()?;
    let checkpoint = Checkpoint::open(Path::new(model))?;
    let backend = Cpu::new(None);
    let options = LoadOptions {
        quantization,
        ..LoadOptions::default()
    };
    let model = Loader::load(&backend, &checkpoint, options, |_, _| {})?;
    let adapters = match adapter.as_str() {
        "none" => None,
        folder => {
            let adapter = Adapter::open(Path::new(folder))?;
            Some(adapters(&backend, &model.config, &adapter, false)?)
        }
    };
    let context = model.context([batch, time], None, None)?;
    let hidden = model.forward(&ids, &context, adapters.as_ref(), |_, _| {})?;
    let logits = pollster::block_on(model.logits(&hidden)?.to_f32())?;
    let shape = vec![batch, time, logits.len() / (batch * time)];
    let view = TensorView::new(Dtype::F32, shape, bytemuck::cast_slice(&logits))?;
    safetensors::serialize_to_file([("logits", view)], None, Path::new(out))?;
    println!("{}", backend.info().name);
    Ok(())
}
