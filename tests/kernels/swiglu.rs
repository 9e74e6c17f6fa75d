use anylora_engine::{Backend, DType, ops};
use anylora_engine_burn::reference;
use anylora_tests::{
    Operand, Output, Tolerance, activations, cases, close, low_binding, on_every_device, read, uniform,
};

/// WGSL's `exp` may be off by 3 + 2 |x| units in the last place: with gates up to 8, 19, which stand here as the
/// square root of a number of terms.
const EXP_TERMS: usize = 400;

fn swiglu<B: Backend>(device: &B, act: DType, shape: [usize; 2]) {
    let len = shape[0] * shape[1];
    let gate = Operand::new(shape, act, uniform(1, len).iter().map(|x| 8.0 * x).collect());
    let [up, dy] = [2, 3].map(|seed| Operand::random(seed, shape, act));
    let (gate_leaf, up_leaf) = (gate.leaf(), up.leaf());
    let y = reference::swiglu(gate_leaf.clone(), up_leaf.clone());
    let expected = reference::to_vec(&y);
    let gradients = (y * dy.leaf()).sum().backward();
    let expected_dgate = reference::gradient(&gate_leaf, &gradients);
    let expected_dup = reference::gradient(&up_leaf, &gradients);

    let tolerance = Tolerance::of(act).terms(EXP_TERMS);
    let (gate, up, dy) = (gate.view_on(device), up.on(device), dy.view_on(device));
    close("y", &ops::swiglu(&gate, &up).unwrap(), &expected, tolerance);
    let [dgate, dup] = ops::swiglu_backward(&gate, &up, &dy).unwrap();
    close("dgate", &dgate, &expected_dgate, tolerance);
    close("dup", &dup, &expected_dup, tolerance);

    let outputs = [0, 1].map(|_| Output::new(device, &shape, act));
    device.swiglu(&gate, &up, &outputs[0].view).unwrap();
    close("y view", &outputs[0].view, &expected, tolerance);
    let [dgate, dup] = [0, 1].map(|i| &outputs[i].view);
    device.swiglu_backward(&gate, &up, &dy, dgate, dup).unwrap();
    close("dgate view", dgate, &expected_dgate, tolerance);
    close("dup view", dup, &expected_dup, tolerance);
    outputs.iter().for_each(Output::check_around);
}

#[test]
fn forward_and_backward() {
    cases(6, (1_usize..20, 1_usize..300), |(rows, columns)| {
        on_every_device!(|device, act| swiglu(device, act, [rows, columns]));
    });
    for shape in [[1, 1], [1, 3], [2, 512], [1, 1025]] {
        on_every_device!(|device, act| swiglu(device, act, shape));
    }
}

#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(1024);
    for act in activations(&gpu) {
        for shape in [[30, 100], [7, 333]] {
            swiglu(&gpu, act, shape);
        }
    }
}

#[test]
fn gates_far_from_zero_saturate() {
    on_every_device!(|device, act| {
        let x = Operand::new([1, 5], act, vec![-6e4, -200.0, 0.0, 200.0, 6e4]);
        let one = Operand::new([1, 5], act, vec![1.0; 5]).on(device);
        let gate = x.on(device);
        let y = read(&ops::swiglu(&gate, &one).unwrap());
        assert_eq!(y, [0.0, 0.0, 0.0, x.values[3], x.values[4]]);
        let [dgate, dup] = ops::swiglu_backward(&gate, &one, &one).unwrap();
        assert_eq!(read(&dgate), [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(read(&dup), y);
    });
}
