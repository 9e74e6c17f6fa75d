use anylora_engine::{Backend, DType, ops};
use anylora_engine_burn::reference;
use anylora_tests::{
    Indices, Operand, Output, Tolerance, activations, cases, close, cpu, low_binding, on_every_device, read,
};

const TABLES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

fn embedding<B: Backend>(device: &B, act: DType, [rows, vocab, columns]: [usize; 3]) {
    for dtype in TABLES {
        let table = Operand::random(1, [vocab, columns], dtype);
        let mut ids = Indices::random(2, [rows], vocab as u32);
        ids.values[rows - 1] = vocab as i32 - 1;
        let expected = reference::to_vec(&reference::embedding(ids.leaf(), table.leaf()));
        let out = ops::embedding(&ids.view_on(device), &table.view_on(device).into(), act).unwrap();
        close(&format!("of {dtype}"), &out, &expected, Tolerance::of(act));

        let output = Output::new(device, &[rows, columns], act);
        device
            .embedding(&ids.on(device), &table.on(device).into(), &output.view)
            .unwrap();
        close("view", &output.view, &expected, Tolerance::of(act));
        output.check_around();
    }
}

#[test]
fn rows_of_every_type_of_table() {
    cases(
        6,
        (1_usize..40, 1_usize..30, 1_usize..70),
        |(rows, vocab, columns)| {
            on_every_device!(|device, act| embedding(device, act, [rows, vocab, columns]));
        },
    );
    for shape in [[1, 1, 1], [3, 5, 576], [70, 3, 7]] {
        on_every_device!(|device, act| embedding(device, act, shape));
    }
}

#[test]
fn a_table_and_a_result_larger_than_one_binding() {
    let gpu = low_binding(8192);
    for act in activations(&gpu) {
        for shape in [[200, 700, 24], [65, 300, 31], [300, 90, 32]] {
            embedding(&gpu, act, shape);
            past(&gpu, act, shape);
        }
    }
}

fn past<B: Backend>(device: &B, act: DType, [rows, vocab, columns]: [usize; 3]) {
    let table = Operand::random(3, [vocab, columns], DType::F32);
    let mut ids = vec![0; rows];
    ids[rows - 1] = vocab as u32;
    ids[rows / 2] = u32::MAX;
    let ids = Indices::unsigned([rows], &ids);
    // Memory that nobody wrote is NaN here too.
    let out = Operand::new([rows, columns], act, vec![0.0; rows * columns]).on(device);
    device
        .embedding(&ids.on(device), &table.on(device).into(), &out)
        .unwrap();
    let found = read(&out);
    for (row, values) in found.chunks(columns).enumerate() {
        let is_past = row == rows - 1 || row == rows / 2;
        assert!(values.iter().all(|value| value.is_nan() == is_past), "row {row}");
    }
}

#[test]
fn an_id_past_the_table_gives_nan() {
    for columns in [8, 9] {
        on_every_device!(|device, act| past(device, act, [10, 7, columns]));
    }
    past(&cpu(), DType::F32, [10, 7, 9]);
}
