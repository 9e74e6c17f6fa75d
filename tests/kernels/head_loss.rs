//! head_loss: the language-model head and its loss, by chunks of rows.

use anylora_engine::{Backend, DType, Weight, ops};
use anylora_engine_burn::reference;
use anylora_tests::{Indices, Operand, Tolerance, close, gpus, on_each_activation, read, uniform_integers};

const GRAD_SCALE: f32 = 0.25;

/// x `[M, H]`, W `[V, H]`.
fn as_the_reference<B: Backend>(device: &B, act: DType, [m, h, v]: [usize; 3]) {
    let x = Operand::random(1, [m, h], act);
    let weight = Operand::random(2, [v, h], DType::F32);
    let labels = uniform_integers(3, m, v as u32);
    let mut labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
    labels.iter_mut().step_by(4).for_each(|label| *label = -100);
    let labels = Indices::signed([m], &labels);
    let counted = labels.values.iter().filter(|&&label| label >= 0).count();

    let leaf = x.leaf();
    let loss = reference::head_loss(leaf.clone(), weight.leaf(), labels.leaf());
    let expected_loss = reference::to_vec(&loss)[0];
    let gradients = loss.mul_scalar(GRAD_SCALE).backward();
    let expected_dx = reference::gradient(&leaf, &gradients);

    let (x, labels) = (x.view_on(device), labels.on(device));
    let weight = Weight::dense(device, [v, h], DType::F32, bytemuck::cast_slice(&weight.values)).unwrap();
    let found = ops::head_loss(&x, &weight, &labels, Some(GRAD_SCALE)).unwrap();
    // A term of dx is a probability, at most 1, times a weight, and so is the label's.
    let tolerance = Tolerance::of(act).terms(v + h).scale(2.0 * GRAD_SCALE);
    close("dx", &found.dx.unwrap(), &expected_dx, tolerance);
    let tolerance = Tolerance::of(DType::F32).terms(v + h + m);
    close("loss", &found.loss, &[expected_loss, counted as f32], tolerance);

    let bits = read(&found.loss);
    let alone = ops::head_loss(&x, &weight, &labels, None).unwrap();
    assert!(alone.dx.is_none());
    assert_eq!(read(&alone.loss), bits, "without a gradient");
}

#[test]
fn loss_and_gradient() {
    for shape in [[1, 8, 5], [30, 20, 301], [67, 64, 128]] {
        on_each_activation!(|device, act| as_the_reference(device, act, shape));
    }
}

#[test]
fn rows_that_take_two_chunks() {
    // 4096 rows of this vocabulary are a chunk's 64 MiB: the last four rows come after.
    as_the_reference(&gpus()[0], DType::F32, [4100, 4, 4096]);
}

#[test]
fn nothing_counts() {
    on_each_activation!(|gpu, act| {
        let x = Operand::random(1, [3, 8], act).on(gpu);
        let weight = Operand::random(2, [12, 8], DType::F32).values;
        let weight = Weight::dense(gpu, [12, 8], DType::F32, bytemuck::cast_slice(&weight)).unwrap();
        let labels = Indices::signed([3], &[-100; 3]).on(gpu);
        let found = ops::head_loss(&x, &weight, &labels, Some(1.0)).unwrap();
        assert_eq!(read(&found.loss), [0.0, 0.0]);
        assert_eq!(read(&found.dx.unwrap()), [0.0; 24]);
    });
}
