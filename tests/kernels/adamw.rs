//! adamw: many steps against the reference, and against torch's formula in f64.

use anylora_engine::{AdamW, Backend, DType, ops};
use anylora_engine_burn::reference::{self, AdamWSettings};
use anylora_tests::{
    Operand, Output, Tolerance, cases, close, cpu, low_binding, on_gpus, same_bits, uniform,
};

const SETTINGS: AdamWSettings = AdamWSettings {
    step: 1,
    lr: 0.02,
    betas: (0.9, 0.999),
    eps: 1e-8,
    weight_decay: 0.1,
    grad_scale: 0.5,
};

/// The parameter, then the gradients of each step.
fn values(len: usize, steps: usize) -> (Operand<1>, Vec<Operand<1>>) {
    let operand = |seed| Operand::random(seed, [len], DType::F32);
    (
        operand(1),
        (0..steps).map(|step| operand(10 + step as u64)).collect(),
    )
}

/// Runs `steps` steps in place, on views, and returns `[param, m, v]`.
fn train<B: Backend>(device: &B, len: usize, steps: usize) -> [Output<B>; 3] {
    let (param, grads) = values(len, steps);
    let zeros = vec![0.0; len];
    let state = [&param.values, &zeros, &zeros].map(|values| {
        let output = Output::new(device, &[len], DType::F32);
        output.view.upload(bytemuck::cast_slice(values)).unwrap();
        output
    });
    let [p, m, v] = &state;
    for (step, grad) in grads.iter().enumerate() {
        let AdamWSettings {
            lr,
            betas,
            eps,
            weight_decay,
            grad_scale,
            ..
        } = SETTINGS;
        ops::adamw(AdamW {
            param: &p.view,
            grad: &grad.view_on(device),
            m: &m.view,
            v: &v.view,
            step: step as u32 + 1,
            lr,
            betas,
            eps,
            weight_decay,
            grad_scale,
        })
        .unwrap();
    }
    state.iter().for_each(Output::check_around);
    state
}

fn as_the_reference<B: Backend>(device: &B, len: usize, steps: usize) {
    let (param, grads) = values(len, steps);
    let zeros = Operand::new([len], DType::F32, vec![0.0; len]);
    let (mut p, mut m, mut v) = (param.leaf(), zeros.leaf(), zeros.leaf());
    for (step, grad) in grads.iter().enumerate() {
        let settings = AdamWSettings {
            step: step as u32 + 1,
            ..SETTINGS
        };
        [p, m, v] = reference::adamw([p, grad.leaf(), m, v], &settings);
    }
    // The reference computes in f32 too: each step rounds a few times.
    let tolerance = Tolerance::of(DType::F32).roundings(steps);
    let found = train(device, len, steps);
    for (what, found, expected) in [("param", &found[0], p), ("m", &found[1], m), ("v", &found[2], v)] {
        close(what, &found.view, &reference::to_vec(&expected), tolerance);
    }
}

#[test]
fn twenty_steps_as_the_reference() {
    cases(6, 1_usize..3000, |len| {
        as_the_reference(&cpu(), len, 20);
        on_gpus!(|gpu| as_the_reference(gpu, len, 20));
    });
    for len in [1, 2, 3, 4, 1023, 1024, 1025] {
        on_gpus!(|gpu| as_the_reference(gpu, len, 2));
    }
}

#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(1024);
    for len in [256, 257, 1000] {
        as_the_reference(&gpu, len, 3);
    }
}

/// `torch.optim.AdamW`'s single-tensor formula, in f64.
fn torch(param: &[f32], grads: &[Operand<1>]) -> Vec<f32> {
    let AdamWSettings {
        lr,
        betas,
        eps,
        weight_decay,
        grad_scale,
        ..
    } = SETTINGS;
    let [lr, beta1, beta2, eps, decay, scale] =
        [lr, betas.0, betas.1, eps, weight_decay, grad_scale].map(f64::from);
    let step_parameter = |(i, p): (usize, &f32)| {
        let (mut p, mut exp_avg, mut exp_avg_sq) = (f64::from(*p), 0.0, 0.0);
        for (step, grad) in grads.iter().enumerate() {
            let (step, g) = (step as i32 + 1, f64::from(grad.values[i]) * scale);
            p *= 1.0 - lr * decay;
            exp_avg += (g - exp_avg) * (1.0 - beta1);
            exp_avg_sq = exp_avg_sq * beta2 + g * g * (1.0 - beta2);
            let step_size = lr / (1.0 - beta1.powi(step));
            let denominator = exp_avg_sq.sqrt() / (1.0 - beta2.powi(step)).sqrt() + eps;
            p -= step_size * exp_avg / denominator;
        }
        p as f32
    };
    param.iter().enumerate().map(step_parameter).collect()
}

#[test]
fn twenty_steps_as_torch() {
    let (param, grads) = values(500, 20);
    let expected = torch(&param.values, &grads);
    let tolerance = Tolerance::of(DType::F32).roundings(20);
    close("param", &train(&cpu(), 500, 20)[0].view, &expected, tolerance);
    on_gpus!(|gpu| close("param", &train(gpu, 500, 20)[0].view, &expected, tolerance));
}

#[test]
fn a_late_step_has_exact_corrections() {
    // At step 5000 the second correction is near 1: the host computes it in f64.
    fn run<B: Backend>(device: &B) {
        let [p, g, m, v] = [1, 2, 3, 4].map(|seed| {
            let values = uniform(seed, 64).iter().map(|value| value.abs() + 0.1).collect();
            Operand::new([64], DType::F32, values)
        });
        let settings = AdamWSettings {
            step: 5000,
            ..SETTINGS
        };
        let expected = reference::adamw([p.leaf(), g.leaf(), m.leaf(), v.leaf()], &settings);
        let [param, grad, m, v] = [&p, &g, &m, &v].map(|operand| operand.on(device));
        let AdamWSettings {
            step,
            lr,
            betas,
            eps,
            weight_decay,
            grad_scale,
        } = settings;
        let (param, grad, m, v) = (&param, &grad, &m, &v);
        ops::adamw(AdamW {
            param,
            grad,
            m,
            v,
            step,
            lr,
            betas,
            eps,
            weight_decay,
            grad_scale,
        })
        .unwrap();
        for (what, found, expected) in [
            ("param", param, &expected[0]),
            ("m", m, &expected[1]),
            ("v", v, &expected[2]),
        ] {
            close(
                what,
                found,
                &reference::to_vec(expected),
                Tolerance::of(DType::F32),
            );
        }
    }
    run(&cpu());
    on_gpus!(|gpu| run(gpu));
}

#[test]
fn two_runs_give_the_same_bits() {
    on_gpus!(|gpu| same_bits("adamw", || train(gpu, 777, 5).map(|output| output.view).into()));
}
