//! lora_down, lora_grad, their dropout, and lora_linear with its gradients on top of them.
//!
//! No variant of these kernels is for subgroups: the device without and the one with f16 compile all of them.

use anylora_engine::{Backend, DType, Dropout, LoraDown, LoraGrad, MemoryKind, Side, Tensor};
use anylora_engine_burn::reference::{self, Oracle};
use anylora_tests::{
    Operand, Output, Tolerance, cases, close, gpus, low_binding, on_each_activation, read, same_bits,
};
use burn::tensor::Tensor as BurnTensor;
use proptest::bool;

/// `[M, K, r]`; K is the layer's N with side B.
type Shape = [usize; 3];

const DROPOUT: Dropout = Dropout {
    p: 0.4,
    seed: 0x0123_4567_89AB_CDEF,
    step: 7,
    layer: 3,
};

/// Both sides, without dropout and with.
fn each(test: impl Fn(Side, Option<Dropout>)) {
    for side in [Side::A, Side::B] {
        for dropout in [None, Some(DROPOUT)] {
            test(side, dropout);
        }
    }
}

fn masked(x: &Operand<2>, dropout: Option<Dropout>) -> BurnTensor<Oracle, 2> {
    match dropout {
        Some(dropout) => x.leaf() * reference::dropout_mask::<Oracle>(&dropout, x.shape, &Default::default()),
        None => x.leaf(),
    }
}

fn down<B: Backend>(device: &B, act: DType, [m, k, r]: Shape, side: Side, dropout: Option<Dropout>) {
    let x = Operand::random(1, [m, k], act);
    let shape = if side == Side::A { [r, k] } else { [k, r] };
    let matrix = Operand::random(2, shape, DType::F32);
    let thin = match side {
        Side::A => masked(&x, dropout).matmul(matrix.leaf().transpose()),
        Side::B => masked(&x, dropout).matmul(matrix.leaf()),
    };
    let expected = reference::to_vec(&thin.mul_scalar(0.75));
    let output = Output::new(device, &[m, r], DType::F32);
    let op = LoraDown {
        x: &x.view_on(device),
        matrix: &matrix.view_on(device),
        side,
        scale: 0.75,
        dropout,
        out: &output.view,
    };
    device.lora_down(op).unwrap();
    // A single product can be all but cancelled: what errors are relative to is the size of its terms.
    let tolerance = Tolerance::of(DType::F32).terms(k).scale((k as f32).sqrt());
    close("out", &output.view, &expected, tolerance);
    output.check_around();
}

fn grad<B: Backend>(device: &B, act: DType, [m, k, r]: Shape, side: Side, dropout: Option<Dropout>) {
    let thin = Operand::random(1, [m, r], DType::F32);
    let wide = Operand::random(2, [m, k], act);
    let shape = if side == Side::A { [r, k] } else { [k, r] };
    let before = Operand::random(3, shape, DType::F32);
    let part = match side {
        Side::A => thin.leaf().transpose().matmul(masked(&wide, dropout)),
        Side::B => masked(&wide, dropout).transpose().matmul(thin.leaf()),
    };
    let expected = reference::to_vec(&(before.leaf() + part));
    let output = Output::new(device, &shape, DType::F32);
    output.view.upload(bytemuck::cast_slice(&before.values)).unwrap();
    let op = LoraGrad {
        thin: &thin.view_on(device),
        wide: &wide.view_on(device),
        side,
        dropout,
        grad: &output.view,
    };
    device.lora_grad(op).unwrap();
    let tolerance = Tolerance::of(DType::F32).terms(m).scale((m as f32).sqrt());
    close("grad", &output.view, &expected, tolerance);
    output.check_around();
}

#[test]
fn down_of_random_shapes() {
    let shapes = (1_usize..40, 1_usize..80, 1_usize..20);
    cases(6, (shapes, bool::ANY), |((m, k, r), vectors)| {
        let shape = if vectors {
            [m, k * 4, r.next_multiple_of(4)]
        } else {
            [m, k, r]
        };
        each(|side, dropout| on_each_activation!(|device, act| down(device, act, shape, side, dropout)));
    });
}

#[test]
fn down_at_the_edges() {
    // Few rows, some, and many, which differ in how they split K, with one tile of ranks or more and K of one step
    // or more; a row above a tile; no vectors.
    for shape in [
        [1, 1028, 8],
        [2, 8, 256],
        [9, 260, 8],
        [16, 64, 20],
        [21, 100, 8],
        [65, 68, 16],
        [1, 1, 1],
        [33, 131, 33],
    ] {
        each(|side, dropout| on_each_activation!(|device, act| down(device, act, shape, side, dropout)));
    }
}

#[test]
fn grad_of_random_shapes() {
    let shapes = (1_usize..80, 1_usize..40, 1_usize..20);
    cases(6, (shapes, bool::ANY), |((m, k, r), vectors)| {
        let shape = if vectors {
            [m, k * 4, r.next_multiple_of(4)]
        } else {
            [m, k, r]
        };
        each(|side, dropout| on_each_activation!(|device, act| grad(device, act, shape, side, dropout)));
    });
}

#[test]
fn grad_at_the_edges() {
    // Few columns and many rows, which are split further; one tile of ranks or more; no vectors.
    for shape in [
        [300, 8, 20],
        [257, 36, 8],
        [65, 20, 8],
        [64, 132, 16],
        [2, 8, 256],
        [1, 1, 1],
        [33, 31, 33],
    ] {
        each(|side, dropout| on_each_activation!(|device, act| grad(device, act, shape, side, dropout)));
    }
}

#[test]
fn no_index_is_out_of_bounds() {
    // The device that checks indices would read something else.
    let gpus = gpus();
    let checked = &gpus[gpus.len() - 1];
    for shape in [[17, 260, 12], [33, 31, 33]] {
        each(|side, dropout| {
            down(checked, DType::F32, shape, side, dropout);
            grad(checked, DType::F32, shape, side, dropout);
        });
    }
}

#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(4096);
    for act in [DType::F32, DType::F16] {
        // Vectors, and not; neither matrix is above the limit.
        for shape in [[200, 64, 4], [130, 15, 3]] {
            each(|side, dropout| {
                down(&gpu, act, shape, side, dropout);
                grad(&gpu, act, shape, side, dropout);
            });
        }
    }
}

/// Ones times the identity: what comes out is the mask itself.
fn mask<B: Backend>(device: &B, act: DType, [rows, width]: [usize; 2], dropout: Dropout) {
    let x = Operand::new([rows, width], act, vec![1.0; rows * width]).on(device);
    let identity = (0..width * width).map(|i| f32::from(u8::from(i % width == i / width)));
    let identity = Operand::new([width, width], DType::F32, identity.collect()).on(device);
    let expected = dropout.mask(rows, width);
    for side in [Side::A, Side::B] {
        let out = Tensor::empty(device, &[rows, width], DType::F32, MemoryKind::Scratch).unwrap();
        let op = LoraDown {
            x: &x,
            matrix: &identity,
            side,
            scale: 1.0,
            dropout: Some(dropout),
            out: &out,
        };
        device.lora_down(op).unwrap();
        assert!(read(&out) == expected, "side {side:?}, {width} columns");
        let out = Operand::new([width, rows], DType::F32, vec![0.0; rows * width]).on(device);
        // The gradient of A from the identity of the rows: the mask transposed, or as it is.
        let thin = (0..rows * rows).map(|i| f32::from(u8::from(i % rows == i / rows)));
        let thin = Operand::new([rows, rows], DType::F32, thin.collect()).on(device);
        let out = if side == Side::A {
            out.reshape(&[rows, width]).unwrap()
        } else {
            out
        };
        let op = LoraGrad {
            thin: &thin,
            wide: &x,
            side,
            dropout: Some(dropout),
            grad: &out,
        };
        device.lora_grad(op).unwrap();
        let at = |row: usize, column: usize| match side {
            Side::A => row * width + column,
            Side::B => column * rows + row,
        };
        let found = read(&out);
        for row in 0..rows {
            for column in 0..width {
                assert_eq!(
                    found[at(row, column)],
                    expected[row * width + column],
                    "{row}, {column}"
                );
            }
        }
    }
}

#[test]
fn masks_are_the_hosts_bit_for_bit() {
    for shape in [[40, 24], [37, 23]] {
        for (p, seed, step, layer) in [
            (0.05, 1, 1, 0),
            (0.5, u64::MAX, u32::MAX, u32::MAX),
            (0.999, 1 << 33, 9, 65_535),
        ] {
            let dropout = Dropout { p, seed, step, layer };
            on_each_activation!(|device, act| mask(device, act, shape, dropout));
        }
    }
    // Windows begin at later rows.
    mask(&low_binding(4096), DType::F32, [40, 24], DROPOUT);
}

#[test]
fn two_runs_give_the_same_bits() {
    let [m, k, r] = [70, 100, 12];
    on_each_activation!(|gpu, act| {
        let wide = Operand::random(1, [m, k], act).on(gpu);
        let thin = Operand::random(2, [m, r], DType::F32).on(gpu);
        let a = Operand::random(3, [r, k], DType::F32);
        let matrix = a.on(gpu);
        same_bits("lora", || {
            let out = Tensor::empty(gpu, &[m, r], DType::F32, MemoryKind::Scratch).unwrap();
            let grad = a.on(gpu);
            let down = LoraDown {
                x: &wide,
                matrix: &matrix,
                side: Side::A,
                scale: 2.0,
                dropout: Some(DROPOUT),
                out: &out,
            };
            gpu.lora_down(down).unwrap();
            let op = LoraGrad {
                thin: &thin,
                wide: &wide,
                side: Side::A,
                dropout: Some(DROPOUT),
                grad: &grad,
            };
            gpu.lora_grad(op).unwrap();
            vec![out, grad]
        });
    });
}
