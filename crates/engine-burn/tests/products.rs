//! Linear layers, adapters and the head, in every weight format, against the reference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use anylora_engine::{Backend, DType, Dropout, LinearBackward, MemoryKind, Tensor, Weight, ops};
use anylora_engine_burn::Cpu;
use anylora_engine_burn::reference;
use anylora_quant::{BlockSize, Codebook, GgmlFormat, quantize};
use common::*;

/// A weight in each format, with the dense values that it stands for.
fn weights(cpu: &Cpu, seed: u32, [n, k]: [usize; 2]) -> Vec<(&'static str, Weight<Cpu>, Vec<f32>)> {
    let dense = values(seed, n * k);
    let f16: Vec<half::f16> = dense.iter().map(|&value| half::f16::from_f32(value)).collect();
    let bf16: Vec<half::bf16> = dense.iter().map(|&value| half::bf16::from_f32(value)).collect();
    let nf4 = quantize(&dense, Codebook::Nf4, BlockSize::default()).unwrap();
    let double = nf4.clone().double_quantize().unwrap();
    let fp4 = quantize(&dense, Codebook::Fp4, BlockSize::MIN).unwrap();
    // Blocks of 32 values in 34 bytes: a scale, then codes.
    let ggml = k.is_multiple_of(32).then(|| {
        let scale = half::f16::from_f32(1.0 / 127.0);
        let bytes: Vec<u8> = dense
            .chunks(32)
            .flat_map(|block| {
                let codes = block.iter().map(|value| (value * 127.0).round() as i8 as u8);
                scale.to_le_bytes().into_iter().chain(codes)
            })
            .collect();
        let mut expected = vec![0.0; n * k];
        GgmlFormat::Q8_0.dequantize(&bytes, &mut expected).unwrap();
        let weight = Weight::ggml(cpu, [n, k], GgmlFormat::Q8_0, Some(&bytes)).unwrap();
        ("Q8_0", weight, expected)
    });
    let half_bytes = bytemuck::cast_slice(&f16);
    let bf16_bytes = bytemuck::cast_slice(&bf16);
    let mut weights = vec![
        (
            "f16",
            Weight::dense(cpu, [n, k], DType::F16, half_bytes).unwrap(),
            f16.iter().map(|v| v.to_f32()).collect(),
        ),
        (
            "bf16",
            Weight::dense(cpu, [n, k], DType::BF16, bf16_bytes).unwrap(),
            bf16.iter().map(|v| v.to_f32()).collect(),
        ),
        (
            "nf4",
            Weight::quantized(cpu, [n, k], &nf4).unwrap(),
            nf4.dequantize(),
        ),
        (
            "nf4 double",
            Weight::quantized(cpu, [n, k], &double).unwrap(),
            double.dequantize(),
        ),
        (
            "fp4",
            Weight::quantized(cpu, [n, k], &fp4).unwrap(),
            fp4.dequantize(),
        ),
        (
            "f32",
            Weight::dense(cpu, [n, k], DType::F32, bytemuck::cast_slice(&dense)).unwrap(),
            dense,
        ),
    ];
    weights.extend(ggml);
    weights
}

#[test]
fn linear_in_every_format() {
    let cpu = Cpu::new(None);
    for [m, n, k] in [
        [1, 5, 33],
        [3, 1, 64],
        [6, 70, 96],
        [8, 130, 1024],
        [17, 31, 50],
        [20, 9, 64],
    ] {
        for (format, weight, dense) in weights(&cpu, 20, [n, k]) {
            let (x, x_ref) = pair(&cpu, 21, [m, k]);
            let (bias, bias_ref) = pair(&cpu, 22, [n]);
            let (dy, dy_ref) = pair(&cpu, 23, [m, n]);
            let weight_ref = reference::floats(&dense, [n, k], &Default::default());
            let y_ref = reference::linear(x_ref.clone(), weight_ref.clone(), Some(bias_ref));
            same(format, &ops::linear(&x, &weight, Some(&bias)).unwrap(), &y_ref);
            let plain_ref = reference::linear(x_ref.clone(), weight_ref, None);
            same(format, &ops::linear(&x, &weight, None).unwrap(), &plain_ref);
            same(format, &ops::logits(&x, &weight).unwrap(), &plain_ref);
            let gradients = (y_ref * dy_ref).sum().backward();
            let dx = ops::linear_backward(&dy, &weight).unwrap();
            close(format, &read(&dx), &reference::gradient(&x_ref, &gradients));
        }
    }
}

/// More columns than are packed at a time, ragged, with everything that one pass adds.
#[test]
fn a_weight_in_several_chunks() {
    let cpu = Cpu::new(None);
    let [m, n, k, r] = [2, 300, 11_008, 3];
    let nf4 = quantize(&values(24, n * k), Codebook::Nf4, BlockSize::default()).unwrap();
    let weight = Weight::quantized(&cpu, [n, k], &nf4).unwrap();
    let (x, x_ref) = pair(&cpu, 25, [m, k]);
    let (bias, bias_ref) = pair(&cpu, 26, [n]);
    let [(a, a_ref), (b, b_ref)] = [(27, [r, k]), (28, [n, r])].map(|(seed, shape)| pair(&cpu, seed, shape));
    let (dy, dy_ref) = pair(&cpu, 29, [m, n]);
    let lora = ops::LoraMatrices {
        a: &a,
        b: &b,
        scale: 0.1,
        dropout: None,
    };
    let (y, xa) = ops::lora_linear(&x, &weight, Some(&bias), &lora).unwrap();
    let dense = reference::quantized(&nf4, [n, k], &Default::default());
    let y_ref = reference::lora_linear(x_ref.clone(), dense, Some(bias_ref), [a_ref, b_ref], 0.1, None);
    same("y", &y, &y_ref);
    let gradients = (y_ref * dy_ref).sum().backward();
    let zeros = [[r, k], [n, r]].map(|shape| float(&cpu, &shape, &vec![0.0; shape[0] * shape[1]]));
    let dx = ops::lora_linear_backward(&x, &weight, &lora, &xa, &dy, &zeros[0], &zeros[1], true)
        .unwrap()
        .unwrap();
    close("dx", &read(&dx), &reference::gradient(&x_ref, &gradients));
}

#[test]
fn lora_adds_to_its_gradients_with_and_without_dropout() {
    let cpu = Cpu::new(None);
    let [m, n, k, r] = [9, 13, 35, 4];
    for dropout in [
        None,
        Some(Dropout {
            p: 0.3,
            seed: 5,
            step: 2,
            layer: 1,
        }),
    ] {
        for (format, weight, dense) in weights(&cpu, 30, [n, k]) {
            let (x, x_ref) = pair(&cpu, 31, [m, k]);
            let [(a, a_ref), (b, b_ref)] =
                [(32, [r, k]), (33, [n, r])].map(|(seed, shape)| pair(&cpu, seed, shape));
            let (dy, dy_ref) = pair(&cpu, 34, [m, n]);
            let lora = ops::LoraMatrices {
                a: &a,
                b: &b,
                scale: 2.0,
                dropout,
            };
            let (y, xa) = ops::lora_linear(&x, &weight, None, &lora).unwrap();
            let device = Default::default();
            let mask = dropout.map(|dropout| reference::dropout_mask(&dropout, [m, k], &device));
            let weight_ref = reference::floats(&dense, [n, k], &device);
            let matrices = [a_ref.clone(), b_ref.clone()];
            let y_ref = reference::lora_linear(x_ref.clone(), weight_ref, None, matrices, 2.0, mask);
            same(format, &y, &y_ref);

            let gradients = (y_ref * dy_ref).sum().backward();
            let (grad_a, grad_b) = (
                float(&cpu, &[r, k], &vec![1.0; r * k]),
                float(&cpu, &[n, r], &vec![1.0; n * r]),
            );
            let dx = ops::lora_linear_backward(&x, &weight, &lora, &xa, &dy, &grad_a, &grad_b, true).unwrap();
            close(
                format,
                &read(&dx.unwrap()),
                &reference::gradient(&x_ref, &gradients),
            );
            for (grad, leaf) in [(grad_a, a_ref), (grad_b, b_ref)] {
                let expected: Vec<f32> = reference::gradient(&leaf, &gradients)
                    .iter()
                    .map(|g| g + 1.0)
                    .collect();
                close(format, &read(&grad), &expected);
            }
        }
    }
}

/// 130 rows of logits: with a vocabulary this large they are two chunks, so that views are read and written.
#[test]
fn head_loss_in_chunks_of_rows() {
    let cpu = Cpu::new(None);
    let (m, h, vocab) = (130, 3, 140_000);
    let (weight, weight_ref) = pair(&cpu, 40, [vocab, h]);
    let (x, x_ref) = pair(&cpu, 41, [m, h]);
    let labels: Vec<i32> = (0..m as i32)
        .map(|i| if i % 5 == 2 { -100 } else { i * 1000 })
        .collect();
    let labels_ref = reference::integers(&labels, [m], &Default::default());
    let labels = signed(&cpu, &[m], &labels);
    let loss_ref = reference::head_loss(x_ref.clone(), weight_ref, labels_ref);
    let found = ops::head_loss(&x, &Weight::Dense(weight.clone()), &labels, Some(0.25)).unwrap();
    close(
        "loss",
        &read(&found.loss),
        &[loss_ref.clone().into_scalar(), 104.0],
    );
    let gradients = (loss_ref * 0.25).backward();
    close(
        "dx",
        &read(&found.dx.unwrap()),
        &reference::gradient(&x_ref, &gradients),
    );
    let without = ops::head_loss(&x, &Weight::Dense(weight), &labels, None).unwrap();
    assert_eq!(read(&without.loss), read(&found.loss));
}

#[test]
fn a_label_outside_the_vocabulary_is_nan() {
    let cpu = Cpu::new(None);
    let logits = float(&cpu, &[2, 3], &values(42, 6));
    let stats = Tensor::empty(&cpu, &[2, 4], DType::F32, MemoryKind::Scratch).unwrap();
    cpu.cross_entropy(&logits, &signed(&cpu, &[2], &[3, -100]), None, &stats, 1)
        .unwrap();
    let stats = read(&stats);
    assert!(stats[1].is_nan());
    assert_eq!((stats[2], stats[5], stats[6]), (0.0, 1.0, 0.0));
}

/// Views that do and don't start on a whole row of the matrix that they are read as.
#[test]
fn products_of_views() {
    let cpu = Cpu::new(None);
    let (rows, _) = pair(&cpu, 43, [7, 6]);
    let dense = values(44, 4 * 6);
    let weight = Weight::dense(&cpu, [4, 6], DType::F32, bytemuck::cast_slice(&dense)).unwrap();
    let all = read(&ops::linear(&rows, &weight, None).unwrap());
    let some = ops::linear(&rows.rows(2..5).unwrap(), &weight, None).unwrap();
    close("rows", &read(&some), &all[8..20]);
    let odd = rows
        .reshape(&[14, 3])
        .unwrap()
        .rows(1..5)
        .unwrap()
        .reshape(&[2, 6])
        .unwrap();
    let expected = ops::linear(&float(&cpu, &[2, 6], &read(&rows)[3..15]), &weight, None).unwrap();
    close(
        "odd",
        &read(&ops::linear(&odd, &weight, None).unwrap()),
        &read(&expected),
    );

    let dx = Tensor::empty(&cpu, &[5, 6], DType::F32, MemoryKind::Activations).unwrap();
    let dy = float(&cpu, &[2, 4], &values(45, 8));
    let out = dx.rows(2..4).unwrap();
    cpu.linear_backward(LinearBackward {
        dy: &dy,
        weight: &weight,
        lora: None,
        dx: &out,
    })
    .unwrap();
    let found = read(&dx);
    close(
        "written",
        &found[12..24],
        &read(&ops::linear_backward(&dy, &weight).unwrap()),
    );
    assert!(found[..12].iter().chain(&found[24..]).all(|&value| value == 0.0));
}
