//! Operations without a product, against the reference.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod common;

use anylora_engine::{AdamW, Backend, DType, Error, MemoryKind, Tensor, ops};
use anylora_engine_burn::Cpu;
use anylora_engine_burn::reference::{self, AdamWSettings};
use common::*;

#[test]
fn embedding_of_each_type_and_ids_past_the_table() {
    let cpu = Cpu::new(None);
    let (table, table_ref) = pair(&cpu, 1, [7, 5]);
    let ids = [3, 0, 6, 3];
    let out = ops::embedding(&unsigned(&cpu, &[4], &ids), &table.into(), DType::F32).unwrap();
    same(
        "embedding",
        &out,
        &reference::embedding(int([4], &ids), table_ref),
    );

    let halves: Vec<half::f16> = values(1, 35).into_iter().map(half::f16::from_f32).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&halves);
    let table = Tensor::from_bytes(&cpu, &[7, 5], DType::F16, MemoryKind::Weights, bytes).unwrap();
    let found = read(&ops::embedding(&unsigned(&cpu, &[2], &[6, 7]), &table.into(), DType::F32).unwrap());
    let expected: Vec<f32> = halves[30..].iter().map(|half| half.to_f32()).collect();
    close("f16", &found[..5], &expected);
    assert!(found[5..].iter().all(|value| value.is_nan()));
}

#[test]
fn rms_norm() {
    let cpu = Cpu::new(None);
    for [rows, columns] in [[1, 3], [1, 37], [5, 64], [600, 33]] {
        let (x, x_ref) = pair(&cpu, 2, [rows, columns]);
        let (weight, weight_ref) = pair(&cpu, 3, [columns]);
        let (dy, dy_ref) = pair(&cpu, 4, [rows, columns]);
        let y_ref = reference::rms_norm(x_ref.clone(), weight_ref, 1e-5);
        same("y", &ops::rms_norm(&x, &weight, 1e-5).unwrap(), &y_ref);
        let gradients = (y_ref * dy_ref).sum().backward();
        let dx = ops::rms_norm_backward(&x, &weight, 1e-5, &dy).unwrap();
        close("dx", &read(&dx), &reference::gradient(&x_ref, &gradients));
    }
}

#[test]
fn swiglu() {
    let cpu = Cpu::new(None);
    for shape in [[1, 1], [3, 21], [130, 257]] {
        let (gate, gate_ref) = pair(&cpu, 5, shape);
        let (up, up_ref) = pair(&cpu, 6, shape);
        let (dy, dy_ref) = pair(&cpu, 7, shape);
        let out_ref = reference::swiglu(gate_ref.clone(), up_ref.clone());
        same("out", &ops::swiglu(&gate, &up).unwrap(), &out_ref);
        let gradients = (out_ref * dy_ref).sum().backward();
        let [dgate, dup] = ops::swiglu_backward(&gate, &up, &dy).unwrap();
        close(
            "dgate",
            &read(&dgate),
            &reference::gradient(&gate_ref, &gradients),
        );
        close("dup", &read(&dup), &reference::gradient(&up_ref, &gradients));
    }
}

#[test]
fn rope_whole_and_partial_forward_and_inverse() {
    let cpu = Cpu::new(None);
    for [dim, rotary] in [[8, 8], [12, 4]] {
        let (x, x_ref) = pair(&cpu, 8, [5, 3, dim]);
        let angles = values(9, 11 * rotary / 2);
        let table: Vec<f32> = angles
            .chunks(rotary / 2)
            .flat_map(|row| {
                row.iter()
                    .map(|angle| angle.cos())
                    .chain(row.iter().map(|angle| angle.sin()))
            })
            .collect();
        let positions = [0, 10, 3, 3, 7];
        let places = unsigned(&cpu, &[5], &positions);
        let (dy, dy_ref) = pair(&cpu, 10, [5, 3, dim]);
        let table_ref = reference::floats(&table, [11, rotary], &Default::default());
        let table = float(&cpu, &[11, rotary], &table);
        let out_ref = reference::rope(x_ref.clone(), int([5], &positions), table_ref, false);
        same("out", &ops::rope(&x, &places, &table, false).unwrap(), &out_ref);
        let gradients = (out_ref * dy_ref).sum().backward();
        let dx = ops::rope(&dy, &places, &table, true).unwrap();
        close("dx", &read(&dx), &reference::gradient(&x_ref, &gradients));
        let past = ops::rope(&x, &unsigned(&cpu, &[5], &[11; 5]), &table, false).unwrap();
        assert!(read(&past).iter().all(|value| value.is_nan()));
    }
}

#[test]
fn adamw_and_sum_squares() {
    let cpu = Cpu::new(None);
    let [(param, p), (grad, g), (m, m_ref)] = [11, 12, 13].map(|seed| pair(&cpu, seed, [9, 7]));
    let squares: Vec<f32> = values(14, 63).iter().map(|value| value * value).collect();
    let (v, v_ref) = (
        float(&cpu, &[9, 7], &squares),
        reference::floats(&squares, [9, 7], &Default::default()),
    );
    let (step, lr, betas, eps, weight_decay, grad_scale) = (3, 0.01, (0.9, 0.999), 1e-8, 0.1, 0.5);
    let settings = AdamWSettings {
        step,
        lr,
        betas,
        eps,
        weight_decay,
        grad_scale,
    };
    let [p, m_ref, v_ref] = reference::adamw([p, g.clone(), m_ref, v_ref], &settings);
    let step = AdamW {
        param: &param,
        grad: &grad,
        m: &m,
        v: &v,
        step,
        lr,
        betas,
        eps,
        weight_decay,
        grad_scale,
    };
    ops::adamw(step).unwrap();
    same("param", &param, &p);
    same("m", &m, &m_ref);
    same("v", &v, &v_ref);

    let (long, long_ref) = pair(&cpu, 15, [3, 4001]);
    let sum = ops::sum_squares(&[&grad, &long]).unwrap();
    same(
        "sum_squares",
        &sum,
        &(reference::sum_squares(g) + reference::sum_squares(long_ref)),
    );
}

#[test]
fn add_scale_fill_cast_copy() {
    let cpu = Cpu::new(None);
    let [(a, a_ref), (b, b_ref)] = [16, 17].map(|seed| pair(&cpu, seed, [6, 5]));
    let copy = ops::copy(&a).unwrap();
    same(
        "add",
        &ops::add(&a, &b).unwrap(),
        &(a_ref.clone() + b_ref.clone()),
    );
    ops::add_assign(&a, &b).unwrap();
    ops::scale(&a, 0.5).unwrap();
    same("a", &a, &((a_ref.clone() + b_ref) * 0.5));
    // The copy shares memory until one of the two changes.
    same("copy", &copy, &a_ref);
    ops::add_assign(&copy, &copy).unwrap();
    same("copy", &copy, &(a_ref * 2.0));

    ops::fill(&b.rows(1..3).unwrap(), -2.5).unwrap();
    let filled = read(&b);
    assert_eq!(&filled[5..15], &[-2.5; 10]);
    assert_eq!(filled[15..], values(17, 30)[15..]);
    let labels = signed(&cpu, &[4], &[1, 2, 3, 4]);
    ops::fill(&labels.rows(2..4).unwrap(), -100.0).unwrap();
    let labels = pollster::block_on(labels.download()).unwrap();
    assert_eq!(
        bytemuck::pod_collect_to_vec::<u8, i32>(&labels),
        [1, 2, -100, -100]
    );

    let bits: Vec<half::bf16> = values(18, 40).into_iter().map(half::bf16::from_f32).collect();
    let bytes: &[u8] = bytemuck::cast_slice(&bits);
    let x = Tensor::from_bytes(&cpu, &[40], DType::BF16, MemoryKind::Weights, bytes).unwrap();
    let expected: Vec<f32> = bits.iter().map(|value| value.to_f32()).collect();
    assert_eq!(read(&ops::cast(&x, DType::F32).unwrap()), expected);
}

#[test]
fn a_tensor_without_a_value_is_an_error() {
    let cpu = Cpu::new(None);
    let empty = Tensor::empty(&cpu, &[2, 2], DType::F32, MemoryKind::Activations).unwrap();
    let whole = float(&cpu, &[2, 2], &[1.0; 4]);
    assert!(matches!(
        ops::add(&whole, &empty),
        Err(Error::Uninitialised("add"))
    ));
    assert!(matches!(
        ops::scale(&empty, 2.0),
        Err(Error::Uninitialised("scale"))
    ));
    assert!(matches!(
        pollster::block_on(empty.download()),
        Err(Error::Uninitialised(_))
    ));
    empty
        .rows(1..2)
        .unwrap()
        .upload(bytemuck::cast_slice(&[3f32, 4.0]))
        .unwrap();
    assert_eq!(read(&empty), [0.0, 0.0, 3.0, 4.0]);
    assert!(matches!(
        Tensor::empty(&Cpu::new(Some(64)), &[17], DType::F32, MemoryKind::Activations),
        Err(Error::OutOfMemory { .. })
    ));
    assert_eq!(cpu.info().engine, "burn");
}
