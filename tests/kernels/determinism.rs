//! Every operation twice, on every engine: the same bits. Shapes take several workgroups, and odd ones.

use anylora_engine::ops::{self, AttentionInput, LoraMatrices};
use anylora_engine::{AdamW, Backend, DType, Dropout, Mask, Result, Tensor, Weight};
use anylora_quant::{BlockSize, Codebook, quantize};
use anylora_tests::{Indices, Operand, on_each_activation, same_bits, uniform};

use crate::block::Block;

const EPS: f32 = 1e-5;

/// An operation's name and its results.
type Named<B> = (&'static str, Vec<Tensor<B>>);

fn pointwise<B: Backend>(device: &B, act: DType) -> Result<Vec<Named<B>>> {
    let shape = [37, 131];
    let new = |seed| Operand::random(seed, shape, act).on(device);
    let table = Operand::random(1, [23, 131], DType::BF16).on(device);
    let weight = Operand::random(2, [131], DType::F32).on(device);
    let heads = Operand::random(3, [37, 3, 44], act).on(device);
    let rotations = Operand::random(4, [50, 20], DType::F32).on(device);
    let positions = Indices::random(5, [37], 50).on(device);
    let [scaled, filled, sum] = [new(6), new(7), new(8)];
    ops::scale(&scaled, 1.7)?;
    ops::fill(&filled, 0.3)?;
    ops::add_assign(&sum, &new(9))?;
    let backward = ops::swiglu_backward(&new(10), &new(11), &new(12))?;
    Ok(vec![
        (
            "embedding",
            vec![ops::embedding(
                &Indices::random(13, [37], 23).on(device),
                &table.clone().into(),
                act,
            )?],
        ),
        ("rms_norm", vec![ops::rms_norm(&new(14), &weight, EPS)?]),
        (
            "rms_norm_backward",
            vec![ops::rms_norm_backward(&new(15), &weight, EPS, &new(16))?],
        ),
        ("rope", vec![ops::rope(&heads, &positions, &rotations, false)?]),
        (
            "rope inverse",
            vec![ops::rope(&heads, &positions, &rotations, true)?],
        ),
        ("swiglu", vec![ops::swiglu(&new(17), &new(18))?]),
        ("swiglu_backward", backward.into()),
        ("add", vec![ops::add(&new(19), &new(20))?]),
        ("add_assign, scale, fill", vec![sum, scaled, filled]),
        ("cast", vec![ops::cast(&table, act)?]),
        ("copy", vec![ops::copy(&new(21))?]),
    ])
}

fn products<B: Backend>(device: &B, act: DType) -> Result<Vec<Named<B>>> {
    let [m, n, k, rank] = [70, 72, 136, 8];
    let quantized = quantize(&uniform(1, n * k), Codebook::Nf4, BlockSize::default()).expect("finite values");
    let double = quantized.clone().double_quantize().expect("finite scales");
    let x = Operand::random(2, [m, k], act).on(device);
    let one = Operand::random(3, [1, k], act).on(device);
    let dy = Operand::random(4, [m, n], act).on(device);
    let a = Operand::random(5, [rank, k], DType::F32).on(device);
    let b = Operand::random(6, [n, rank], DType::F32).on(device);
    let labels: Vec<i32> = (0..m as i32)
        .map(|row| if row % 5 == 0 { -100 } else { row })
        .collect();
    let labels = Indices::signed([m], &labels).on(device);
    let mut results = Vec::new();
    for weight in [
        Weight::quantized(device, [n, k], &quantized)?,
        Weight::quantized(device, [n, k], &double)?,
        Weight::Dense(Operand::random(7, [n, k], DType::BF16).on(device)),
        Weight::Dense(Operand::random(8, [n, k], DType::F32).on(device)),
    ] {
        let dropout = Some(Dropout {
            p: 0.2,
            seed: 3,
            step: 4,
            layer: 5,
        });
        let lora = LoraMatrices {
            a: &a,
            b: &b,
            scale: 0.5,
            dropout,
        };
        let (y, xa) = ops::lora_linear(&x, &weight, None, &lora)?;
        let grad_a = Operand::random(9, [rank, k], DType::F32).on(device);
        let grad_b = Operand::random(10, [n, rank], DType::F32).on(device);
        let dx = ops::lora_linear_backward(&x, &weight, &lora, &xa, &dy, &grad_a, &grad_b, true)?;
        results.push(("lora_linear", vec![y, xa]));
        results.push((
            "lora_linear_backward",
            dx.into_iter().chain([grad_a, grad_b]).collect(),
        ));
        results.push((
            "linear",
            vec![ops::linear(&x, &weight, None)?, ops::linear(&one, &weight, None)?],
        ));
        results.push(("linear_backward", vec![ops::linear_backward(&dy, &weight)?]));
        results.push(("logits", vec![ops::logits(&one, &weight)?]));
        let head = ops::head_loss(&x, &weight, &labels, Some(0.1))?;
        results.push(("head_loss", head.dx.into_iter().chain([head.loss]).collect()));
    }
    Ok(results)
}

fn attention<B: Backend>(device: &B, act: DType) -> Result<Vec<Named<B>>> {
    let [batch, time, heads, kv_heads, dim] = [2, 45, 4, 2, 16];
    let [q, dout] = [1, 2].map(|seed| Operand::random(seed, [batch, time, heads, dim], act).on(device));
    let [k, v] = [3, 4].map(|seed| Operand::random(seed, [batch, time, kv_heads, dim], act).on(device));
    let segments: Vec<u32> = (0..batch * time)
        .map(|place| u32::from(place % time > 20))
        .collect();
    let segments = Indices::unsigned([batch, time], &segments).on(device);
    let input = AttentionInput {
        q: &q,
        k: &k,
        v: &v,
        segments: Some(&segments),
        mask: Mask {
            causal: true,
            window: None,
        },
        scale: 0.25,
    };
    let (out, lse) = ops::attention(&input)?;
    let gradients = ops::attention_backward(&input, &out, &lse, &dout)?;
    let [keys, values] =
        [5, 6].map(|seed| Operand::random(seed, [batch, 2048, kv_heads, dim], act).on(device));
    let one = Operand::random(7, [batch, heads, dim], act).on(device);
    let lengths = Indices::unsigned([batch], &[2000, 77]).on(device);
    let decoded = ops::attention_decode(&one, &keys, &values, &lengths, None, 0.25)?;
    ops::cache_append(&k, &Indices::unsigned([batch], &[10, 2030]).on(device), &keys)?;
    Ok(vec![
        ("attention", vec![out, lse]),
        ("attention_backward", gradients.into()),
        ("attention_decode", vec![decoded]),
        ("cache_append", vec![keys]),
    ])
}

fn optimizer<B: Backend>(device: &B, _act: DType) -> Result<Vec<Named<B>>> {
    let new = |seed| Operand::random(seed, [91, 101], DType::F32).on(device);
    let squares = uniform(1, 91 * 101).iter().map(|value| value * value).collect();
    let v = Operand::new([91, 101], DType::F32, squares).on(device);
    let [param, grad, m] = [new(2), new(3), new(4)];
    ops::adamw(AdamW {
        param: &param,
        grad: &grad,
        m: &m,
        v: &v,
        step: 3,
        lr: 0.01,
        betas: (0.9, 0.999),
        eps: 1e-8,
        weight_decay: 0.1,
        grad_scale: 0.7,
    })?;
    let norm = ops::sum_squares(&[&grad, &param, &m])?;
    Ok(vec![("adamw", vec![param, m, v]), ("sum_squares", vec![norm])])
}

fn twice<B: Backend>(device: &B, act: DType, run: fn(&B, DType) -> Result<Vec<Named<B>>>) {
    let [first, second] = [0, 1].map(|_| run(device, act).unwrap());
    assert_eq!(first.len(), second.len());
    for ((name, first), (_, second)) in first.into_iter().zip(second) {
        let runs = std::cell::RefCell::new(vec![second, first]);
        same_bits(name, || runs.borrow_mut().pop().unwrap());
    }
}

#[test]
fn operations_without_a_product() {
    on_each_activation!(|device, act| twice(device, act, pointwise));
}

#[test]
fn products_with_frozen_and_trained_matrices() {
    on_each_activation!(|device, act| twice(device, act, products));
}

#[test]
fn attention_and_its_cache() {
    on_each_activation!(|device, act| twice(device, act, attention));
}

#[test]
fn the_optimizer() {
    on_each_activation!(|device, act| twice(device, act, optimizer));
}

fn steps<B: Backend>(device: &B, act: DType) {
    let run = || {
        let block = Block::new(device, act).unwrap();
        block.step().unwrap();
        let step = block.step().unwrap();
        let mut results = vec![step.loss, step.square_of_norm, step.dx];
        results.extend(block.gradients().cloned());
        results
    };
    same_bits("two steps", run);
}

#[test]
fn two_steps_of_a_block() {
    on_each_activation!(|device, act| steps(device, act));
}
