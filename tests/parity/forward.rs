//! Logits and every hidden state within 2e-5 of transformers', relative to the largest value.

use anylora_engine::Backend;
use anylora_models::LoadOptions;

use crate::engines::on_engines;
use crate::goldens::{Goldens, TINY, distance, load, values};

const TOLERANCE: f32 = 2e-5;

fn hidden_states_and_logits<B: Backend>(backend: &B) {
    for name in TINY {
        let model = load(backend, name, LoadOptions::default());
        let goldens = Goldens::open(name, "forward.safetensors");
        let (shape, ids) = goldens.ids("input_ids");
        let context = model.context([shape[0], shape[1]], None, None).unwrap();
        let mut states = Vec::new();
        let hidden = model
            .forward(ids, &context, None, |_, x| states.push(x.clone()))
            .unwrap();
        // The reference gives the last block's output after the final norm.
        states.pop();
        states.push(hidden.clone());
        for (index, state) in states.iter().enumerate() {
            let off = distance(&values(state), goldens.floats(&format!("hidden_{index}")));
            assert!(off <= TOLERANCE, "{name}: hidden_{index} is off by {off:e}");
        }
        let off = distance(&values(&model.logits(&hidden).unwrap()), goldens.floats("logits"));
        assert!(off <= TOLERANCE, "{name}: logits are off by {off:e}");
        println!("{name}: logits off by {off:e}");
    }
}

on_engines!(hidden_states_and_logits);
