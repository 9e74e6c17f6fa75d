use anylora_engine::{Backend, DType, ops};
use anylora_engine_burn::reference;
use anylora_tests::{
    Operand, Output, Tolerance, activations, cases, close, low_binding, on_every_device, read,
};

const EPS: f32 = 1e-5;

fn rms_norm<B: Backend>(device: &B, act: DType, shape: [usize; 2]) {
    let [x, dy] = [1, 2].map(|seed| Operand::random(seed, shape, act));
    let weight = Operand::random(3, [shape[1]], DType::F32);
    let leaf = x.leaf();
    let y = reference::rms_norm(leaf.clone(), weight.leaf(), EPS);
    let expected = reference::to_vec(&y);
    let expected_dx = reference::gradient(&leaf, &(y * dy.leaf()).sum().backward());
    let tolerance = Tolerance::of(act).terms(shape[1]);

    let (x, dy, weight) = (x.view_on(device), dy.view_on(device), weight.view_on(device));
    close(
        "y",
        &ops::rms_norm(&x, &weight, EPS).unwrap(),
        &expected,
        tolerance,
    );
    let dx = ops::rms_norm_backward(&x, &weight, EPS, &dy).unwrap();
    // dx is the difference of two terms, each of the size of r * dy * w.
    let tolerance = tolerance.scale(largest(&expected_dx).max(1.0));
    close("dx", &dx, &expected_dx, tolerance);

    let output = Output::new(device, &shape, act);
    device
        .rms_norm_backward(&x, &weight, EPS, &dy, &output.view)
        .unwrap();
    close("view", &output.view, &expected_dx, tolerance);
    output.check_around();
}

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

#[test]
fn forward_and_backward() {
    cases(6, (1_usize..6, 1_usize..1300), |(rows, columns)| {
        on_every_device!(|device, act| rms_norm(device, act, [rows, columns]));
    });
    for shape in [
        [1, 1],
        [2, 3],
        [3, 4],
        [2, 256],
        [1, 257],
        [2, 576],
        [1, 513],
        [1, 1024],
        [2, 2048],
        [2, 2052],
    ] {
        on_every_device!(|device, act| rms_norm(device, act, shape));
    }
}

#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(8192);
    for act in activations(&gpu) {
        for shape in [[100, 64], [300, 15], [9, 1024]] {
            rms_norm(&gpu, act, shape);
        }
    }
}

#[test]
fn rows_of_zeros_and_rows_whose_squares_are_large() {
    on_every_device!(|device, act| {
        let mut values = vec![0.0; 512];
        values[256..].copy_from_slice(&[3e4; 256]);
        let x = Operand::new([2, 256], act, values).on(device);
        let weight = Operand::new([256], DType::F32, vec![1.0; 256]).on(device);
        let y = ops::rms_norm(&x, &weight, EPS).unwrap();
        let expected: Vec<f32> = [0.0, 1.0].into_iter().flat_map(|value| [value; 256]).collect();
        close("y", &y, &expected, Tolerance::of(act).terms(256));
        let dy = Operand::new([2, 256], act, vec![0.0; 512]).on(device);
        let dx = ops::rms_norm_backward(&x, &weight, EPS, &dy).unwrap();
        assert!(read(&dx).iter().all(|&value| value == 0.0));
    });
}
