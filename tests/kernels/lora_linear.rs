//! lora_linear and its three gradients: the operation that training runs, with one dropout mask in all of them.

use anylora_engine::ops::{self, LoraMatrices};
use anylora_engine::{Backend, DType, Dropout, Weight};
use anylora_engine_burn::reference::{self, Oracle};
use anylora_quant::{BlockSize, Codebook, quantize};
use anylora_tests::{Operand, Output, Tolerance, close, on_each_activation};
use burn::tensor::Tensor as BurnTensor;

/// `[M, K, N, r]`.
type Shape = [usize; 4];

const SCALE: f32 = 2.0;
const DROPOUT: Dropout = Dropout {
    p: 0.3,
    seed: 42,
    step: 5,
    layer: 11,
};

/// W for the engine and, as it dequantizes, for the reference.
fn weight<B: Backend>(device: &B, n: usize, k: usize, packed: bool) -> (Weight<B>, BurnTensor<Oracle, 2>) {
    let dense = Operand::random(1, [n, k], DType::F32);
    if packed {
        let quantized = quantize(&dense.values, Codebook::Nf4, BlockSize::default()).unwrap();
        let reference = reference::quantized(&quantized, [n, k], &Default::default());
        (Weight::quantized(device, [n, k], &quantized).unwrap(), reference)
    } else {
        let bytes = bytemuck::cast_slice(&dense.values);
        let reference = reference::floats(&dense.values, [n, k], &Default::default());
        (
            Weight::dense(device, [n, k], DType::F32, bytes).unwrap(),
            reference,
        )
    }
}

fn as_the_reference<B: Backend>(
    device: &B,
    act: DType,
    shape: Shape,
    packed: bool,
    dropout: Option<Dropout>,
) {
    let [m, k, n, r] = shape;
    let (weight, dense) = weight(device, n, k, packed);
    let x = Operand::random(2, [m, k], act);
    let dy = Operand::random(3, [m, n], act);
    let bias = Operand::random(4, [n], DType::F32);
    let a = Operand::random(5, [r, k], DType::F32);
    let b = Operand::random(6, [n, r], DType::F32);
    let before = [
        Operand::random(7, [r, k], DType::F32),
        Operand::random(8, [n, r], DType::F32),
    ];

    let leaves = [x.leaf(), a.leaf(), b.leaf()];
    let mask =
        dropout.map(|dropout| reference::dropout_mask::<Oracle>(&dropout, [m, k], &Default::default()));
    let matrices = [leaves[1].clone(), leaves[2].clone()];
    let y = reference::lora_linear(leaves[0].clone(), dense, Some(bias.leaf()), matrices, SCALE, mask);
    let expected_y = reference::to_vec(&y);
    let gradients = (y * dy.leaf()).sum().backward();
    let [expected_x, mut expected_a, mut expected_b] =
        leaves.map(|leaf| reference::gradient(&leaf, &gradients));
    for (expected, before) in [(&mut expected_a, &before[0]), (&mut expected_b, &before[1])] {
        expected
            .iter_mut()
            .zip(&before.values)
            .for_each(|(sum, before)| *sum += before);
    }

    let grads = before.map(|before| {
        let output = Output::new(device, &before.shape, DType::F32);
        output.view.upload(bytemuck::cast_slice(&before.values)).unwrap();
        output
    });
    let (a, b, x, dy) = (a.on(device), b.on(device), x.view_on(device), dy.view_on(device));
    let lora = LoraMatrices {
        a: &a,
        b: &b,
        scale: SCALE,
        dropout,
    };
    let (y, xa) = ops::lora_linear(&x, &weight, Some(&bias.on(device)), &lora).unwrap();
    let [grad_a, grad_b] = &grads;
    let dx =
        ops::lora_linear_backward(&x, &weight, &lora, &xa, &dy, &grad_a.view, &grad_b.view, true).unwrap();
    let of = |terms: usize| Tolerance::of(DType::F32).terms(terms);
    close("y", &y, &expected_y, Tolerance::of(act).terms(k + r));
    close("dx", &dx.unwrap(), &expected_x, Tolerance::of(act).terms(n + r));
    close("grad_a", &grad_a.view, &expected_a, of(n + m));
    close("grad_b", &grad_b.view, &expected_b, of(k + m));
    grads.iter().for_each(Output::check_around);
}

#[test]
fn without_dropout() {
    on_each_activation!(|device, act| as_the_reference(device, act, [19, 64, 48, 8], false, None));
}

#[test]
fn one_mask_in_forward_and_both_gradients() {
    on_each_activation!(|device, act| as_the_reference(device, act, [19, 64, 48, 8], false, Some(DROPOUT)));
}

#[test]
fn of_a_packed_weight() {
    on_each_activation!(|device, act| as_the_reference(device, act, [33, 128, 64, 16], true, Some(DROPOUT)));
}

#[test]
fn of_odd_shapes() {
    for shape in [[1, 5, 7, 1], [3, 33, 130, 3], [70, 67, 9, 17]] {
        on_each_activation!(|device, act| as_the_reference(device, act, shape, false, Some(DROPOUT)));
    }
}
