//! A GGUF file.
#![no_main]

use anylora_checkpoint::Checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(checkpoint) = Checkpoint::from_gguf("fuzz.gguf", data.to_vec().into()) {
        for name in checkpoint.names() {
            if let Ok(tensor) = checkpoint.read(name) {
                assert_eq!(tensor.to_f32().len(), tensor.len());
            }
        }
    }
});
