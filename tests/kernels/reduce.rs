//! reduce, and sum_squares on top of it.

use anylora_engine::{Backend, DType, MemoryKind, Tensor, ops};
use anylora_engine_burn::reference;
use anylora_tests::{Operand, Output, Tolerance, cases, close, cpu, low_binding, on_gpus, read, same_bits};

/// Columns of the output before those that are written.
const COLUMN: usize = 2;

fn chunks<B: Backend>(device: &B, [rows, columns]: [usize; 2], chunk: usize) {
    let x = Operand::random(1, [rows, columns], DType::F32);
    let width = columns.div_ceil(chunk) + COLUMN + 1;
    for square in [false, true] {
        let output = Output::new(device, &[rows, width], DType::F32);
        device
            .reduce(&x.view_on(device), square, chunk, &output.view, COLUMN)
            .unwrap();
        let found = read(&output.view);
        let mut sums = Vec::new();
        let mut expected = Vec::new();
        for row in 0..rows {
            let values = &x.values[row * columns..(row + 1) * columns];
            let f64s = |chunk: &[f32]| {
                let terms = chunk.iter().map(|&value| f64::from(value));
                terms
                    .map(|value| if square { value * value } else { value })
                    .sum::<f64>() as f32
            };
            expected.extend(values.chunks(chunk).map(f64s));
            let (inside, outside): (Vec<_>, Vec<_>) =
                (0..width).partition(|place| (COLUMN..width - 1).contains(place));
            sums.extend(inside.iter().map(|place| found[row * width + place]));
            for place in outside {
                assert!(found[row * width + place].is_nan(), "column {place} was written");
            }
        }
        let terms = chunk.min(columns);
        let tolerance = Tolerance::of(DType::F32)
            .terms(terms)
            .scale((terms as f32).sqrt());
        let sums = Operand::new([sums.len()], DType::F32, sums);
        close("sums", &sums.on(device), &expected, tolerance);
        output.check_around();
    }
}

#[test]
fn chunks_of_random_shapes() {
    cases(
        10,
        (1_usize..5, 1_usize..2000, 1_usize..700),
        |(rows, columns, chunk)| {
            chunks(&cpu(), [rows, columns], chunk);
            on_gpus!(|gpu| chunks(gpu, [rows, columns], chunk));
        },
    );
}

#[test]
fn chunks_above_the_binding_limit() {
    let gpu = low_binding(1024);
    for (shape, chunk) in [([1, 1000], 64), ([2, 701], 128), ([3, 333], 50), ([1, 300], 2)] {
        chunks(&gpu, shape, chunk);
    }
}

fn sum_squares<B: Backend>(device: &B, lengths: &[usize]) {
    let operands: Vec<_> = lengths
        .iter()
        .enumerate()
        .map(|(seed, &len)| Operand::random(seed as u64, [len], DType::F32))
        .collect();
    let expected: f32 = operands
        .iter()
        .map(|x| reference::to_vec(&reference::sum_squares(x.leaf()))[0])
        .sum();
    let tensors: Vec<_> = operands.iter().map(|x| x.view_on(device)).collect();
    let found = ops::sum_squares(&tensors.iter().collect::<Vec<_>>()).unwrap();
    assert_eq!(found.shape(), [1, 1]);
    let tolerance = Tolerance::of(DType::F32).terms(lengths.iter().sum());
    close("sum_squares", &found, &[expected], tolerance);
}

#[test]
fn sum_squares_of_many_tensors() {
    for lengths in [&[1][..], &[4096, 4097, 5, 8192], &[3; 40], &[70_001]] {
        sum_squares(&cpu(), lengths);
        on_gpus!(|gpu| sum_squares(gpu, lengths));
    }
}

#[test]
fn two_runs_give_the_same_bits() {
    on_gpus!(|gpu| {
        let x = Operand::random(5, [2, 30_000], DType::F32).on(gpu);
        same_bits("reduce", || {
            let out = Tensor::empty(gpu, &[2, 8], DType::F32, MemoryKind::Scratch).unwrap();
            gpu.reduce(&x, true, 4096, &out, 0).unwrap();
            vec![out, ops::sum_squares(&[&x]).unwrap()]
        });
    });
}
