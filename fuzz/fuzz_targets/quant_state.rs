//! The quant_state of a 4-bit weight whose other parts are good.
#![no_main]

use anylora_checkpoint::{Checkpoint, Files};
use libfuzzer_sys::fuzz_target;

const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/tiny/tiny-llama/config.json");
const LEVELS: &[u8] = include_bytes!("../nf4_levels.bin");

fuzz_target!(|data: &[u8]| {
    // 4096 weights: packed, absmax, levels, state.
    let sizes = [2048, 64 * 4, LEVELS.len(), data.len()];
    let names = ["w", "w.absmax", "w.quant_map", "w.quant_state.bitsandbytes__nf4"];
    let shapes = [
        "[2048,1]".into(),
        "[64]".into(),
        "[16]".into(),
        format!("[{}]", data.len()),
    ];
    let mut at = 0;
    let entries: Vec<String> = (0..4)
        .map(|i| {
            let dtype = if i == 1 || i == 2 { "F32" } else { "U8" };
            let (start, end) = (at, at + sizes[i]);
            at = end;
            let (name, shape) = (names[i], &shapes[i]);
            format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", entries.join(","));
    let parts = [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &[0x37; 2048 + 256],
        LEVELS,
        data,
    ];
    let files = Files::from([
        ("config.json".to_string(), CONFIG.to_vec().into()),
        ("model.safetensors".to_string(), parts.concat().into()),
    ]);
    if let Ok(checkpoint) = Checkpoint::from_files(files) {
        let tensor = checkpoint.read("w");
        assert!(tensor.is_ok_and(|tensor| tensor.to_f32().len() == tensor.len()));
    }
});
