//! add, scale, fill, cast, copy.

use anylora_engine::{Backend, DType, MemoryKind, Tensor, ops};
use anylora_engine_burn::reference;
use anylora_tests::{
    Indices, Operand, Output, Tolerance, activations, cases, close, decode, gpus, low_binding,
    on_every_device, on_every_gpu, on_gpus, read,
};
use half::{bf16, f16};
use pollster::block_on;

/// Around the edges of vectors and workgroups.
const LENGTHS: [usize; 8] = [1, 2, 3, 4, 1023, 1024, 1025, 4099];

fn add<B: Backend>(device: &B, act: DType, len: usize) {
    let [a, b] = [1, 2].map(|seed| Operand::random(seed, [len], act));
    let expected = reference::to_vec(&(a.leaf() + b.leaf()));
    let tolerance = Tolerance::of(act);
    let (first, second) = (a.on(device), b.view_on(device));
    close("out", &ops::add(&first, &second).unwrap(), &expected, tolerance);
    ops::add_assign(&first, &second).unwrap();
    close("a", &first, &expected, tolerance);
    device.add(&a.on(device), &second, &second).unwrap();
    close("b", &second, &expected, tolerance);
    ops::add_assign(&second, &second).unwrap();
    let twice: Vec<f32> = expected.iter().map(|value| 2.0 * value).collect();
    close("b + b", &second, &twice, tolerance);

    let output = Output::new(device, &[len], act);
    device
        .add(&a.view_on(device), &b.on(device), &output.view)
        .unwrap();
    close("view", &output.view, &expected, tolerance);
    output.check_around();
}

#[test]
fn add_and_add_in_place() {
    cases(6, 1_usize..5000, |len| {
        on_every_device!(|device, act| add(device, act, len));
    });
    for len in LENGTHS {
        on_every_device!(|device, act| add(device, act, len));
    }
}

fn scale<B: Backend>(device: &B, act: DType, len: usize) {
    let x = Operand::random(3, [len], act);
    let expected = reference::to_vec(&(x.leaf() * -0.3));
    let output = Output::new(device, &[len], act);
    let zeros = Operand::new([len], act, vec![0.0; len]).on(device);
    device.add(&x.view_on(device), &zeros, &output.view).unwrap();
    ops::scale(&output.view, -0.3).unwrap();
    close("x", &output.view, &expected, Tolerance::of(act));
    output.check_around();
}

#[test]
fn scale_in_place() {
    for len in LENGTHS {
        on_every_gpu!(|device, act| scale(device, act, len));
    }
    scale(&anylora_tests::cpu(), DType::F32, 10);
}

#[test]
fn above_the_binding_limit_and_with_folded_workgroups() {
    let gpu = low_binding(1024);
    for act in activations(&gpu) {
        for len in [1000, 2050, 2049] {
            add(&gpu, act, len);
            scale(&gpu, act, len);
        }
    }
    // 65,535 workgroups of 1024 elements, and a few more.
    let len = 65_535 * 1024 + 5;
    let gpu = &gpus()[0];
    let x = Tensor::empty(gpu, &[len], DType::F32, MemoryKind::Scratch).unwrap();
    ops::fill(&x, 1.5).unwrap();
    ops::scale(&x, 2.0).unwrap();
    assert!(read(&x).iter().all(|&value| value == 3.0));
}

#[test]
fn fill_of_every_type() {
    fn fill<B: Backend>(gpu: &B) {
        for len in LENGTHS {
            for value in [0.0, -0.0, -2.5, 1e-3] {
                for act in activations(gpu) {
                    let output = Output::new(gpu, &[len], act);
                    ops::fill(&output.view, value).unwrap();
                    let expected = anylora_tests::rounded(act, &vec![value; len]);
                    let found = read(&output.view);
                    assert!(
                        found
                            .iter()
                            .zip(&expected)
                            .all(|(a, b)| a.to_bits() == b.to_bits()),
                        "{act} {value}"
                    );
                    output.check_around();
                }
            }
            let labels = Indices::signed([len], &vec![7; len]).view_on(gpu);
            ops::fill(&labels, -100.0).unwrap();
            assert_eq!(
                bytemuck::pod_collect_to_vec::<u8, i32>(&block_on(labels.download()).unwrap()),
                vec![-100; len]
            );
            let ids = Indices::random(4, [len], 50).on(gpu);
            ops::fill(&ids, 4e9).unwrap();
            assert_eq!(
                bytemuck::pod_collect_to_vec::<u8, u32>(&block_on(ids.download()).unwrap()),
                vec![4_000_000_000; len]
            );
        }
    }
    on_gpus!(|gpu| fill(gpu));
    fill(&low_binding(1024));
}

fn tensor<B: Backend>(gpu: &B, dtype: DType, bytes: &[u8]) -> Tensor<B> {
    Tensor::from_bytes(
        gpu,
        &[bytes.len() / dtype.size()],
        dtype,
        MemoryKind::Scratch,
        bytes,
    )
    .unwrap()
}

/// Bits where NaN is NaN, whatever its payload.
fn canonical(values: Vec<f32>) -> Vec<u32> {
    let bits = |value: f32| if value.is_nan() { f32::NAN } else { value }.to_bits();
    values.into_iter().map(bits).collect()
}

/// On every GPU that computes with f16, and on one with small bindings.
macro_rules! on_half_gpus {
    (|$gpu:ident| $test:expr) => {{
        on_gpus!(|$gpu| {
            if $gpu.caps().tier.f16 {
                $test;
            }
        });
        let $gpu = &low_binding(1024);
        if $gpu.caps().tier.f16 {
            $test;
        }
    }};
}

#[test]
fn cast_widens_every_half_exactly() {
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for dtype in [DType::F16, DType::BF16] {
        let expected = canonical(decode(dtype, bytemuck::cast_slice(&all)));
        on_gpus!(|gpu| {
            let out = ops::cast(&tensor(gpu, dtype, bytemuck::cast_slice(&all)), DType::F32).unwrap();
            assert!(canonical(read(&out)) == expected, "{dtype} {gpu:?}");
        });
        let cpu = anylora_tests::cpu();
        let x = Tensor::from_bytes(
            &cpu,
            &[1 << 16],
            dtype,
            MemoryKind::Scratch,
            bytemuck::cast_slice(&all),
        );
        let out = ops::cast(&x.unwrap(), DType::F32).unwrap();
        assert!(canonical(read(&out)) == expected, "{dtype} on the CPU");
    }
}

#[test]
fn cast_rounds_to_f16_as_half_does() {
    // Every f16, its neighbours in f32, the ties between it and the next, and their neighbours.
    let mut values: Vec<f32> = Vec::new();
    for bits in 0..=0x7c00_u16 {
        let low = f16::from_bits(bits).to_f32();
        let high = f16::from_bits(bits.min(0x7bff) + 1).to_f32().min(65_536.0);
        for center in [low, (low + high) / 2.0] {
            for value in [center.next_down(), center, center.next_up()] {
                values.extend([value, -value]);
            }
        }
    }
    for value in [
        1e-10,
        1e10,
        f32::MIN_POSITIVE,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
        1e-45,
    ] {
        values.extend([value, -value]);
    }
    values.extend(anylora_tests::uniform(5, 10_001));
    let expected = canonical(
        values
            .iter()
            .map(|&value| f16::from_f32(value).to_f32())
            .collect(),
    );
    let check = |out: Vec<f32>| {
        let found = canonical(out);
        let wrong = (0..values.len()).find(|&i| found[i] != expected[i]);
        assert_eq!(wrong.map(|i| (values[i], f32::from_bits(found[i]))), None);
    };
    on_half_gpus!(|gpu| {
        let x = tensor(gpu, DType::F32, bytemuck::cast_slice(&values));
        check(read(&ops::cast(&x, DType::F16).unwrap()));
    });
}

#[test]
fn cast_from_bf16_to_f16_and_between_views() {
    let all: Vec<bf16> = (0..=u16::MAX).map(bf16::from_bits).collect();
    let expected = canonical(
        all.iter()
            .map(|value| f16::from_f32(value.to_f32()).to_f32())
            .collect(),
    );
    on_half_gpus!(|gpu| {
        let out = ops::cast(&tensor(gpu, DType::BF16, bytemuck::cast_slice(&all)), DType::F16).unwrap();
        assert!(canonical(read(&out)) == expected);
        let types = [DType::F32, DType::F16, DType::BF16];
        for (from, to) in types
            .iter()
            .flat_map(|from| [(*from, DType::F32), (*from, DType::F16)])
        {
            for len in [1, 2, 3, 5, 6, 7, 1025, 1030] {
                if from == to && !(len * to.size()).is_multiple_of(4) {
                    continue; // a copy, of whole words inside a tensor
                }
                let x = Operand::random(6, [len], from);
                let output = Output::new(gpu, &[len], to);
                gpu.cast(&x.view_on(gpu), &output.view).unwrap();
                let expected = anylora_tests::rounded(to, &x.values);
                assert_eq!(read(&output.view), expected, "{from} to {to}, {len}");
                output.check_around();
            }
        }
    });
}

#[test]
fn copy_of_every_type() {
    on_gpus!(|gpu| {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::U32, DType::U8] {
            let bytes: Vec<u8> = (0..40 * dtype.size()).map(|i| i as u8).collect();
            let x = tensor(gpu, dtype, &bytes);
            assert_eq!(block_on(ops::copy(&x).unwrap().download()).unwrap(), bytes);
        }
    });
}
