use anylora_engine::{Backend, DType, ops};
use anylora_engine_burn::reference;
use anylora_tests::{
    Indices, Operand, Output, Tolerance, activations, cases, close, low_binding, on_every_device, read,
    uniform,
};

/// Cosines, then sines, of random angles: `[places, rotary]`.
fn table(places: usize, rotary: usize) -> Operand<2> {
    let angles = uniform(1, places * rotary / 2);
    let row = |row: &[f32]| {
        let cosines = row.iter().map(|angle| (3.0 * angle).cos());
        cosines
            .chain(row.iter().map(|angle| (3.0 * angle).sin()))
            .collect::<Vec<_>>()
    };
    let values = angles.chunks(rotary / 2).flat_map(row).collect();
    Operand::new([places, rotary], DType::F32, values)
}

fn rope<B: Backend>(device: &B, act: DType, shape: [usize; 3], rotary: usize, places: usize) {
    let [x, dy] = [2, 3].map(|seed| Operand::random(seed, shape, act));
    let positions = Indices::random(4, [shape[0]], places as u32);
    let table = table(places, rotary);
    let leaf = x.leaf();
    let y = reference::rope(leaf.clone(), positions.leaf(), table.leaf(), false);
    let expected = reference::to_vec(&y);
    let expected_dx = reference::gradient(&leaf, &(y * dy.leaf()).sum().backward());
    let tolerance = Tolerance::of(act).terms(2);

    let (positions, table) = (positions.view_on(device), table.view_on(device));
    let (x, dy) = (x.view_on(device), dy.on(device));
    let y = ops::rope(&x, &positions, &table, false).unwrap();
    close("y", &y, &expected, tolerance);
    let dx = ops::rope(&dy, &positions, &table, true).unwrap();
    close("dx", &dx, &expected_dx, tolerance);

    let output = Output::new(device, &shape, act);
    device.rope(&x, &positions, &table, false, &output.view).unwrap();
    close("view", &output.view, &expected, tolerance);
    output.check_around();
}

#[test]
fn forward_and_inverse_whole_and_partial() {
    let shapes = (1_usize..9, 1_usize..5, 1_usize..40, 1_usize..40, 1_usize..50);
    cases(6, shapes, |(rows, heads, half, rest, places)| {
        on_every_device!(|device, act| rope(
            device,
            act,
            [rows, heads, 2 * half + rest - 1],
            2 * half,
            places
        ));
    });
    for (shape, rotary) in [
        ([5, 9, 64], 64),
        ([3, 2, 128], 128),
        ([4, 2, 96], 24),
        ([2, 3, 80], 20),
        ([1, 1, 2], 2),
    ] {
        on_every_device!(|device, act| rope(device, act, shape, rotary, 33));
    }
}

#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(8192);
    for act in activations(&gpu) {
        rope(&gpu, act, [200, 2, 8], 8, 1000);
        rope(&gpu, act, [300, 1, 6], 2, 3000);
        past(&gpu, act, [200, 2, 8], 8, 1000);
    }
}

fn past<B: Backend>(device: &B, act: DType, shape: [usize; 3], rotary: usize, places: usize) {
    let mut positions = vec![1; shape[0]];
    positions[shape[0] - 1] = places as u32;
    positions[0] = u32::MAX;
    let positions = Indices::unsigned([shape[0]], &positions).on(device);
    let x = Operand::random(5, shape, act).on(device);
    // Memory that nobody wrote is NaN here too.
    let out = Operand::new(shape, act, vec![0.0; x.len()]).on(device);
    let table = table(places, rotary).on(device);
    device.rope(&x, &positions, &table, false, &out).unwrap();
    let y = read(&out);
    for (row, values) in y.chunks(shape[1] * shape[2]).enumerate() {
        let is_past = row == 0 || row == shape[0] - 1;
        assert!(values.iter().all(|value| value.is_nan() == is_past), "row {row}");
    }
}

#[test]
fn a_position_past_the_table_gives_nan() {
    on_every_device!(|device, act| past(device, act, [4, 2, 8], 8, 5));
    on_every_device!(|device, act| past(device, act, [4, 2, 7], 4, 5));
}
