//! A block's forward on a tape: the same bits as without one, and gradients equal to PEFT's.

use anylora_engine::{Backend, DType, MemoryKind, Tape, Tensor, ops};
use anylora_models::{LoadOptions, Model, Quantization};
use anylora_nn::{Adapters, LoraAdapter, Projection};
use safetensors::SafeTensors;

use crate::engines::on_engines;
use crate::goldens::{Goldens, TINY, folder, load, values};

/// PEFT's adapter of one of the reference's folders: r 8, alpha 16.
fn adapters<B: Backend>(backend: &B, model: &Model<B>, name: &str, of: &str) -> Adapters<B> {
    let path = folder(name)
        .join("reference")
        .join(of)
        .join("adapter_model.safetensors");
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Option<(Vec<usize>, Vec<f32>)> {
        let view = tensors.tensor(name).ok()?;
        let values = view.data().as_chunks::<4>().0.iter();
        let values = values.map(|value| f32::from_le_bytes(*value)).collect();
        Some((view.shape().to_vec(), values))
    };
    let mut adapters = Adapters::new(model.blocks.len());
    for layer in 0..model.blocks.len() {
        for projection in Projection::ALL {
            let module = format!("base_model.model.{}", projection.module(layer));
            let Some((shape, a)) = floats(&format!("{module}.lora_A.weight")) else {
                continue;
            };
            let (b_shape, b) = floats(&format!("{module}.lora_B.weight")).unwrap();
            let adapter =
                LoraAdapter::new(backend, [shape[0], b_shape[0], shape[1]], (&a, &b), 2.0, true).unwrap();
            for grad in adapter.grads.as_ref().unwrap() {
                ops::fill(grad, 0.0).unwrap();
            }
            adapters.block_mut(layer).set(projection, adapter);
        }
    }
    adapters
}

fn tape_equals_eager<B: Backend>(backend: &B) {
    for name in TINY {
        let model = load(backend, name, LoadOptions::default());
        let adapters = adapters(backend, &model, name, "lora_f32_adapter_final");
        let goldens = Goldens::open(name, "forward.safetensors");
        let (shape, ids) = goldens.ids("input_ids");
        let context = model.context([shape[0], shape[1]], None, None).unwrap();
        let mut inputs = Vec::new();
        model
            .forward(ids, &context, Some(&adapters), |_, x| inputs.push(x.clone()))
            .unwrap();
        for index in 0..model.blocks.len() {
            let mut tape = Tape::default();
            let x = tape.leaf(inputs[index].clone(), true);
            let block = model.block(index, Some(&adapters)).unwrap();
            let y = block.forward(&mut tape, x, &context).unwrap();
            assert_eq!(
                values(tape.value(y)),
                values(&inputs[index + 1]),
                "{name}: block {index}"
            );
        }
    }
}

/// The loss and the gradients' norm of PEFT's first step, with the blocks replayed in reverse.
fn first_step<B: Backend>(backend: &B) {
    let quantized = LoadOptions {
        quantization: Some(Quantization::nf4()),
        ..LoadOptions::default()
    };
    for (record, options) in [("lora_f32", LoadOptions::default()), ("qlora_nf4dq", quantized)] {
        for name in TINY {
            step_equals_peft(backend, name, record, options);
        }
    }
}

fn step_equals_peft<B: Backend>(backend: &B, name: &str, record_name: &str, options: LoadOptions) {
    let model = load(backend, name, options);
    let adapters = adapters(backend, &model, name, "adapter_init");
    let goldens = Goldens::open(name, "batches.safetensors");
    let (shape, ids) = goldens.ids("input_ids");
    let (batch, time) = (shape[1], shape[2]);
    let ids = &ids[..batch * time];
    let context = model.context([batch, time], None, None).unwrap();
    let mut inputs = Vec::new();
    model
        .forward(ids, &context, Some(&adapters), |_, x| inputs.push(x.clone()))
        .unwrap();
    let labels: Vec<i32> = (0..batch * time)
        .map(|at| {
            if at % time + 1 < time {
                ids[at + 1] as i32
            } else {
                -100
            }
        })
        .collect();
    let trained = (batch * (time - 1)) as f32;
    let labels = Tensor::from_bytes(
        backend,
        &[labels.len()],
        DType::I32,
        MemoryKind::Activations,
        bytemuck::cast_slice(&labels),
    )
    .unwrap();

    let mut tape = Tape::default();
    let last = tape.leaf(inputs.pop().unwrap(), true);
    let normed = model.norm.forward(&mut tape, &last).unwrap();
    let loss = ops::head_loss(tape.value(normed), &model.lm_head, &labels, Some(1.0 / trained)).unwrap();
    let sum = values(&loss.loss);
    assert_eq!(sum[1], trained);
    let mut grad = tape.backward(normed, loss.dx.unwrap(), last).unwrap().unwrap();
    for (index, x) in inputs.into_iter().enumerate().rev() {
        let mut tape = Tape::default();
        let x = tape.leaf(x, index > 0);
        let block = model.block(index, Some(&adapters)).unwrap();
        let y = block.forward(&mut tape, x, &context).unwrap();
        match tape.backward(y, grad, x).unwrap() {
            Some(next) => grad = next,
            None => break,
        }
    }
    let squares: f64 = adapters
        .iter()
        .flat_map(|(_, _, adapter)| adapter.grads.iter().flatten())
        .flat_map(values)
        .map(|value| f64::from(value) * f64::from(value))
        .sum();
    let path = folder(name)
        .join("reference")
        .join(record_name)
        .with_extension("json");
    let record: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let expected = |field: &str| record["steps"][0][field].as_f64().unwrap();
    for (field, found) in [
        ("loss", f64::from(sum[0] / sum[1])),
        ("grad_norm", squares.sqrt()),
    ] {
        let off = (found / expected(field) - 1.0).abs();
        assert!(
            off <= 1e-6,
            "{name}, {record_name}: {field} {found} is off by {off:e}"
        );
    }
}

on_engines!(tape_equals_eager, first_step);
