//! A model.safetensors beside a good config.json.
#![no_main]

use anylora_checkpoint::{Checkpoint, Files};
use libfuzzer_sys::fuzz_target;

const CONFIG: &[u8] = include_bytes!("../../tests/fixtures/tiny/tiny-llama/config.json");

fuzz_target!(|data: &[u8]| {
    let files = Files::from([
        ("config.json".to_string(), CONFIG.to_vec().into()),
        ("model.safetensors".to_string(), data.to_vec().into()),
    ]);
    if let Ok(checkpoint) = Checkpoint::from_files(files) {
        for name in checkpoint.names() {
            if let Ok(tensor) = checkpoint.read(name) {
                assert_eq!(tensor.to_f32().len(), tensor.len());
            }
        }
    }
});
