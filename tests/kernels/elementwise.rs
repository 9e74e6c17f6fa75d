//! add, scale, fill, cast, copy.

use anylora_engine::{Backend, DType, ops};
use anylora_engine_burn::reference;
use anylora_tests::{Operand, Output, Tolerance, cases, close, low_binding, on_every_device};

fn add<B: Backend>(device: &B, act: DType, len: usize) {
    let [a, b] = [1, 2].map(|seed| Operand::random(seed, [len], act));
    let expected = reference::to_vec(&(a.leaf() + b.leaf()));
    let tolerance = Tolerance::of(act);
    let (first, second) = (a.on(device), b.view_on(device));
    close("out", &ops::add(&first, &second).unwrap(), &expected, tolerance);
    ops::add_assign(&first, &second).unwrap();
    close("a", &first, &expected, tolerance);

    let output = Output::new(device, &[len], act);
    device.add(&a.view_on(device), &second, &output.view).unwrap();
    close("view", &output.view, &expected, tolerance);
    output.check_around();
}

#[test]
fn add_and_add_in_place() {
    cases(6, 1_usize..1200, |len| {
        on_every_device!(|device, act| add(device, act, len))
    });
    for len in [1, 4, 255, 256, 257, 1024] {
        on_every_device!(|device, act| add(device, act, len));
    }
}

#[test]
fn add_above_the_binding_limit() {
    let gpu = low_binding(1024);
    for act in [DType::F32, DType::F16] {
        for len in [1000, 2049] {
            add(&gpu, act, len);
        }
    }
}
