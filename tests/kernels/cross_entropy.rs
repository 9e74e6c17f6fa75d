//! cross_entropy: the loss a row, its gradient in place, labels that don't count and labels that don't exist.

use anylora_engine::{Backend, DType};
use anylora_engine_burn::reference;
use anylora_tests::{
    Indices, Operand, Output, Scope, Tolerance, cases, close, cpu, gpus, low_binding, on_gpus, read,
    same_bits, uniform, uniform_integers,
};

const IGNORED: i32 = -100;
const GRAD_SCALE: f32 = 0.125;
/// Columns of `stats` before those that are written.
const COLUMN: usize = 3;

struct Case {
    rows: usize,
    vocab: usize,
    /// What logits are multiplied by.
    size: f32,
}

impl Case {
    /// On the CPU engine and every GPU; logits are f32 whatever activations are.
    fn run_everywhere(&self) {
        self.run(&cpu());
        on_gpus!(|gpu| {
            let _scope = Scope::new(gpu, DType::F32);
            self.run(gpu);
        });
    }

    fn logits(&self) -> Operand<2> {
        let values = uniform(1, self.rows * self.vocab);
        let values = values.iter().map(|value| value * self.size).collect();
        Operand::new([self.rows, self.vocab], DType::F32, values)
    }

    /// Every third label doesn't count; the first and the last of the vocabulary are there.
    fn labels(&self) -> Indices<1> {
        let labels = uniform_integers(2, self.rows, self.vocab as u32);
        let mut labels: Vec<i32> = labels.iter().map(|&label| label as i32).collect();
        labels[0] = self.vocab as i32 - 1;
        labels
            .iter_mut()
            .skip(2)
            .step_by(3)
            .for_each(|label| *label = IGNORED);
        labels.iter_mut().skip(3).step_by(7).for_each(|label| *label = 0);
        Indices::signed([self.rows], &labels)
    }

    fn run<B: Backend>(&self, device: &B) {
        let (logits, labels) = (self.logits(), self.labels());
        let leaf = logits.leaf();
        let nll = reference::cross_entropy(leaf.clone(), labels.leaf());
        let gradients = nll.clone().sum().mul_scalar(GRAD_SCALE).backward();
        let expected = reference::gradient(&leaf, &gradients);
        let counts: Vec<f32> = labels
            .values
            .iter()
            .map(|&label| f32::from(u8::from(label != IGNORED)))
            .collect();
        let nll = reference::to_vec(&nll);
        // A difference of two logits, whose own size is what it is accurate to.
        let loss = Tolerance::of(DType::F32)
            .terms(self.vocab)
            .scale(self.size + (self.vocab as f32).ln());

        for grad_scale in [None, Some(GRAD_SCALE)] {
            let stats = Output::new(device, &[2, self.rows + COLUMN + 2], DType::F32);
            let output = Output::new(device, &[self.rows, self.vocab], DType::F32);
            output.view.upload(bytemuck::cast_slice(&logits.values)).unwrap();
            device
                .cross_entropy(
                    &output.view,
                    &labels.view_on(device),
                    grad_scale,
                    &stats.view,
                    COLUMN,
                )
                .unwrap();
            let found = read(&stats.view);
            let (found_nll, found_counts) = found.split_at(self.rows + COLUMN + 2);
            let written = COLUMN..COLUMN + self.rows;
            assert_eq!(found_counts[written.clone()], counts);
            let found_nll = Operand::new([self.rows], DType::F32, found_nll[written.clone()].to_vec());
            close("nll", &found_nll.on(device), &nll, loss);
            for (place, value) in found.iter().enumerate() {
                let inside = written.contains(&(place % (self.rows + COLUMN + 2)));
                assert!(
                    inside || value.is_nan(),
                    "stats: {place} is outside the columns and was written"
                );
            }
            match grad_scale {
                None => assert!(read(&output.view) == logits.values, "logits were changed"),
                Some(scale) => {
                    // The exponent carries the rounding errors of a logit and of lse.
                    let errors = scale * (1.0 + self.size);
                    let tolerance = Tolerance::of(DType::F32).terms(self.vocab).scale(errors);
                    close("gradient", &output.view, &expected, tolerance);
                }
            }
            output.check_around();
            stats.check_around();
        }
    }
}

#[test]
fn random_shapes() {
    cases(8, (1_usize..12, 1_usize..700), |(rows, vocab)| {
        let size = 4.0;
        Case { rows, vocab, size }.run_everywhere();
    });
}

#[test]
fn at_the_edges() {
    // A cell, a step and four steps of a workgroup, and one more; logits far apart.
    for (vocab, size) in [
        (1, 1.0),
        (4, 1.0),
        (255, 1.0),
        (256, 1.0),
        (1028, 80.0),
        (4096, 1.0),
        (4101, 80.0),
    ] {
        let rows = 5;
        Case { rows, vocab, size }.run_everywhere();
    }
}

#[test]
fn large_vocabularies() {
    // The slowest of these tests: the baseline device and the one with subgroups have all variants.
    for gpu in [&gpus()[0], &gpus()[gpus().len() - 2]] {
        for vocab in [50_257, 262_144] {
            let case = Case {
                rows: 2,
                vocab,
                size: 6.0,
            };
            case.run(gpu);
        }
    }
}

#[test]
fn above_the_binding_limit() {
    let gpu = low_binding(4096);
    for (rows, vocab) in [(40, 64), (70, 9), (9, 320)] {
        Case {
            rows,
            vocab,
            size: 4.0,
        }
        .run(&gpu);
    }
}

#[test]
fn a_label_outside_the_vocabulary_gives_nan() {
    fn run<B: Backend>(device: &B) {
        for vocab in [20, 21] {
            let case = Case {
                rows: 4,
                vocab,
                size: 2.0,
            };
            let logits = case.logits().on(device);
            let labels = Indices::signed([4], &[vocab as i32, 1, -1, i32::MIN]).on(device);
            // Memory that nobody wrote is NaN too.
            let stats = Operand::new([2, 4], DType::F32, vec![0.0; 8]).on(device);
            device
                .cross_entropy(&logits, &labels, Some(1.0), &stats, 0)
                .unwrap();
            let stats = read(&stats);
            let nan: Vec<bool> = stats.iter().map(|value| value.is_nan()).collect();
            assert_eq!(nan, [true, false, true, true, false, false, false, false]);
            assert_eq!(stats[4..], [1.0; 4]);
            for (place, value) in read(&logits).iter().enumerate() {
                assert_eq!(value.is_nan(), place / vocab != 1, "{place}");
            }
        }
    }
    run(&cpu());
    on_gpus!(|gpu| run(gpu));
}

#[test]
fn two_runs_give_the_same_bits() {
    let case = Case {
        rows: 6,
        vocab: 1111,
        size: 5.0,
    };
    on_gpus!(|gpu| {
        same_bits("cross_entropy", || {
            let logits = case.logits().on(gpu);
            let stats = Operand::new([2, 6], DType::F32, vec![0.0; 12]).on(gpu);
            gpu.cross_entropy(&logits, &case.labels().on(gpu), Some(0.5), &stats, 0)
                .unwrap();
            vec![logits, stats]
        });
    });
}
