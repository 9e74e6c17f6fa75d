//! An adapter: the length of adapter_config.json in two bytes, it, and adapter_model.safetensors.
#![no_main]

use anylora_checkpoint::Adapter;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
    let (config, weights) = rest.split_at(length);
    if let Ok(adapter) = Adapter::from_bytes(config, weights) {
        let again = Adapter::from_bytes(adapter.config.to_json().as_bytes(), &adapter.weights_bytes());
        assert!(again.is_ok());
    }
});
