//! A small transformer block with everything that a training step runs: embedding, norms, LoRA on NF4 and on dense
//! weights, rotation, attention, SwiGLU, the head's loss, backward, gradient clipping and the optimizer. Generic, so
//! that it runs on every engine, and on the dry one.

use anylora_engine::{
    AdamW, Backend, DType, Dropout, Lora, Mask, MemoryKind, Result, Tape, Tensor, Var, Weight, ops,
};
use anylora_quant::{BlockSize, Codebook, quantize};
use anylora_tests::{Tolerance, close, cpu, encode, on_each_activation, read, uniform, uniform_integers};

const BATCH: usize = 2;
const TIME: usize = 19;
const ROWS: usize = BATCH * TIME;
const HIDDEN: usize = 32;
const INTERMEDIATE: usize = 48;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 8;
const RANK: usize = 4;
const VOCAB: usize = 50;
const EPS: f32 = 1e-5;

/// A trained adapter with its optimizer state.
struct Adapter<B: Backend> {
    lora: Lora<B>,
    /// Of A: m, v; of B: m, v.
    moments: [Tensor<B>; 4],
}

/// One block, and what a step feeds it.
pub struct Block<B: Backend> {
    act: DType,
    embedding: Tensor<B>,
    norms: [Tensor<B>; 3],
    /// q, k, v, o, gate, up, down, head.
    weights: Vec<Weight<B>>,
    bias: Tensor<B>,
    /// Of all weights but the head's.
    adapters: Vec<Adapter<B>>,
    ids: Tensor<B>,
    labels: Tensor<B>,
    positions: Tensor<B>,
    segments: Tensor<B>,
    table: Tensor<B>,
}

/// What a step gives, beside the trained matrices.
pub struct Step<B: Backend> {
    /// `[2]` f32: the sum of the losses and the number of labels.
    pub loss: Tensor<B>,
    /// `[1, 1]` f32.
    pub square_of_norm: Tensor<B>,
    /// `[ROWS, HIDDEN]`: the gradient of the embedding's output.
    pub dx: Tensor<B>,
}

/// Between forward and backward.
pub struct Forward<B: Backend> {
    tape: Tape<B>,
    input: Var,
    output: Var,
    loss: Tensor<B>,
    grad: Tensor<B>,
}

impl<B: Backend> Block<B> {
    pub fn new(device: &B, act: DType) -> Result<Self> {
        let floats = |seed: u64, shape: &[usize], kind, scale: f32| {
            let values = uniform(seed, shape.iter().product());
            let values: Vec<f32> = values.iter().map(|value| scale * value).collect();
            Tensor::from_f32(device, shape, kind, &values)
        };
        let norm = |seed| floats(seed, &[HIDDEN], MemoryKind::Weights, 1.0);
        let shapes = Self::shapes();
        let weights = (0_u64..)
            .zip(shapes)
            .map(|(place, shape)| weight(device, place, shape));
        let adapters = (0_u32..).zip(&shapes[..7]).map(|(layer, &[n, k])| {
            let seed = 100 + 10 * u64::from(layer);
            let state = |shape: &[usize]| -> Result<[Tensor<B>; 3]> {
                Ok([
                    zeros(device, shape, MemoryKind::Gradients)?,
                    zeros(device, shape, MemoryKind::Optimizer)?,
                    zeros(device, shape, MemoryKind::Optimizer)?,
                ])
            };
            let [grad_a, m_a, v_a] = state(&[RANK, k])?;
            let [grad_b, m_b, v_b] = state(&[n, RANK])?;
            let lora = Lora {
                a: floats(seed, &[RANK, k], MemoryKind::Adapter, 0.3)?,
                b: floats(seed + 1, &[n, RANK], MemoryKind::Adapter, 0.3)?,
                grad_a,
                grad_b,
                scale: 2.0,
                dropout: Some(Dropout {
                    p: 0.1,
                    seed: 7,
                    step: 1,
                    layer,
                }),
            };
            Ok(Adapter {
                lora,
                moments: [m_a, v_a, m_b, v_b],
            })
        });
        let integers = |values: &[u32]| Tensor::from_u32(device, &[ROWS], MemoryKind::Activations, values);
        let mut labels: Vec<i32> = uniform_integers(50, ROWS, VOCAB as u32)
            .iter()
            .map(|&id| id as i32)
            .collect();
        labels[3] = -100;
        let positions: Vec<u32> = (0..ROWS).map(|row| (row % TIME) as u32).collect();
        let segments: Vec<u32> = (0..ROWS).map(|row| u32::from(row % TIME > 11)).collect();
        Ok(Self {
            act,
            embedding: Tensor::from_bytes(
                device,
                &[VOCAB, HIDDEN],
                DType::BF16,
                MemoryKind::Weights,
                &encode(DType::BF16, &uniform(51, VOCAB * HIDDEN)),
            )?,
            norms: [norm(52)?, norm(53)?, norm(54)?],
            bias: floats(55, &[HEADS * HEAD_DIM], MemoryKind::Weights, 0.1)?,
            weights: weights.collect::<Result<_>>()?,
            adapters: adapters.collect::<Result<_>>()?,
            ids: integers(&uniform_integers(56, ROWS, VOCAB as u32))?,
            labels: Tensor::from_bytes(
                device,
                &[ROWS],
                DType::I32,
                MemoryKind::Activations,
                bytemuck::cast_slice(&labels),
            )?,
            positions: integers(&positions)?,
            segments: integers(&segments)?.reshape(&[BATCH, TIME])?,
            table: rotations(device)?,
        })
    }

    /// `[N, K]` of q, k, v, o, gate, up, down and the head.
    fn shapes() -> [[usize; 2]; 8] {
        let (wide, narrow) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        [
            [wide, HIDDEN],
            [narrow, HIDDEN],
            [narrow, HIDDEN],
            [HIDDEN, wide],
            [INTERMEDIATE, HIDDEN],
            [INTERMEDIATE, HIDDEN],
            [HIDDEN, INTERMEDIATE],
            [VOCAB, HIDDEN],
        ]
    }

    /// Forward, the loss, and the gradient of the block's output.
    pub fn forward(&self) -> Result<Forward<B>> {
        let mut tape = Tape::default();
        let input = tape.leaf(
            ops::embedding(&self.ids, &self.embedding.clone().into(), self.act)?,
            true,
        );
        let layer = |tape: &mut Tape<B>, x, place: usize, bias| {
            tape.lora_linear(x, &self.weights[place], bias, &self.adapters[place].lora)
        };
        let normed = tape.rms_norm(input, &self.norms[0], EPS)?;
        let q = layer(&mut tape, normed, 0, Some(&self.bias))?;
        let k = layer(&mut tape, normed, 1, None)?;
        let v = layer(&mut tape, normed, 2, None)?;
        let mut rotated = [q, k];
        for (x, heads) in rotated.iter_mut().zip([HEADS, KV_HEADS]) {
            let split = tape.reshape(*x, &[ROWS, heads, HEAD_DIM])?;
            let turned = tape.rope(split, &self.positions, &self.table)?;
            *x = tape.reshape(turned, &[BATCH, TIME, heads, HEAD_DIM])?;
        }
        let v = tape.reshape(v, &[BATCH, TIME, KV_HEADS, HEAD_DIM])?;
        let mask = Mask {
            causal: true,
            window: Some(9),
        };
        let scale = (HEAD_DIM as f32).sqrt().recip();
        let attended = tape.attention([rotated[0], rotated[1], v], Some(&self.segments), mask, scale)?;
        let attended = tape.reshape(attended, &[ROWS, HEADS * HEAD_DIM])?;
        let attended = layer(&mut tape, attended, 3, None)?;
        let middle = tape.add(input, attended)?;
        let normed = tape.rms_norm(middle, &self.norms[1], EPS)?;
        let gate = layer(&mut tape, normed, 4, None)?;
        let up = layer(&mut tape, normed, 5, None)?;
        let product = tape.swiglu(gate, up)?;
        let down = layer(&mut tape, product, 6, None)?;
        let output = tape.add(middle, down)?;

        let last = ops::rms_norm(tape.value(output), &self.norms[2], EPS)?;
        let head = ops::head_loss(&last, &self.weights[7], &self.labels, Some(1.0 / 37.0))?;
        let dx = head.dx.as_ref().expect("a gradient was asked for");
        let grad = ops::rms_norm_backward(tape.value(output), &self.norms[2], EPS, dx)?;
        Ok(Forward {
            tape,
            input,
            output,
            loss: head.loss,
            grad,
        })
    }

    /// Backward and the optimizer.
    pub fn finish(&self, forward: Forward<B>) -> Result<Step<B>> {
        let Forward {
            tape,
            input,
            output,
            loss,
            grad,
        } = forward;
        let dx = tape.backward(output, grad, input)?.expect("the input needs one");
        let grads: Vec<&Tensor<B>> = self.gradients().collect();
        let square_of_norm = ops::sum_squares(&grads)?;
        for Adapter { lora, moments } in &self.adapters {
            let [m_a, v_a, m_b, v_b] = moments;
            for (param, grad, m, v) in [
                (&lora.a, &lora.grad_a, m_a, v_a),
                (&lora.b, &lora.grad_b, m_b, v_b),
            ] {
                ops::adamw(AdamW {
                    param,
                    grad,
                    m,
                    v,
                    step: 1,
                    lr: 1e-3,
                    betas: (0.9, 0.999),
                    eps: 1e-8,
                    weight_decay: 0.01,
                    grad_scale: 0.5,
                })?;
            }
        }
        Ok(Step {
            loss,
            square_of_norm,
            dx,
        })
    }

    /// The gradients of the trained matrices, set to zero, then forward and [`Block::finish`].
    pub fn step(&self) -> Result<Step<B>> {
        for grad in self.gradients() {
            ops::fill(grad, 0.0)?;
        }
        let forward = self.forward()?;
        self.finish(forward)
    }

    /// Of A and B of every adapter.
    pub fn gradients(&self) -> impl Iterator<Item = &Tensor<B>> {
        self.adapters
            .iter()
            .flat_map(|adapter| [&adapter.lora.grad_a, &adapter.lora.grad_b])
    }
}

/// NF4, NF4 with double quantization, bf16 and f32 in turn.
fn weight<B: Backend>(device: &B, place: u64, [n, k]: [usize; 2]) -> Result<Weight<B>> {
    let values: Vec<f32> = uniform(place, n * k).iter().map(|value| 0.3 * value).collect();
    let quantized = || quantize(&values, Codebook::Nf4, BlockSize::default()).expect("the values are finite");
    match place % 4 {
        0 => Weight::quantized(device, [n, k], &quantized()),
        1 => {
            let double = quantized().double_quantize().expect("the scales are finite");
            Weight::quantized(device, [n, k], &double)
        }
        2 => Weight::dense(device, [n, k], DType::BF16, &encode(DType::BF16, &values)),
        _ => Weight::dense(device, [n, k], DType::F32, &encode(DType::F32, &values)),
    }
}

fn zeros<B: Backend>(device: &B, shape: &[usize], kind: MemoryKind) -> Result<Tensor<B>> {
    let tensor = Tensor::empty(device, shape, DType::F32, kind)?;
    ops::fill(&tensor, 0.0)?;
    Ok(tensor)
}

/// Cosines, then sines, of `p / 10000^(2 i / HEAD_DIM)`: `[TIME, HEAD_DIM]`.
fn rotations<B: Backend>(device: &B) -> Result<Tensor<B>> {
    let half = HEAD_DIM / 2;
    let angle = |place: usize, i: usize| place as f32 / 10_000_f32.powf(i as f32 / half as f32);
    let row = |place| {
        let cosines = (0..half).map(move |i| angle(place, i).cos());
        cosines.chain((0..half).map(move |i| angle(place, i).sin()))
    };
    let values: Vec<f32> = (0..TIME).flat_map(row).collect();
    Tensor::from_f32(device, &[TIME, HEAD_DIM], MemoryKind::Activations, &values)
}

#[test]
fn a_step_is_that_of_the_cpu_engine() {
    let expected = Block::new(&cpu(), DType::F32).unwrap();
    let expected_step = expected.step().unwrap();
    on_each_activation!(|gpu, act| {
        let block = Block::new(gpu, act).unwrap();
        let step = block.step().unwrap();
        // About as many activations lie between a gradient and the loss; the products' lengths add up.
        let tolerance = Tolerance::of(act).roundings(4).terms(20 * HIDDEN);
        close("loss", &step.loss, &read(&expected_step.loss), tolerance);
        close("dx", &step.dx, &read(&expected_step.dx), tolerance);
        let squares = read(&expected_step.square_of_norm);
        close("norm", &step.square_of_norm, &squares, tolerance);
        for (i, (grad, expected)) in block.gradients().zip(expected.gradients()).enumerate() {
            close(&format!("gradient {i}"), grad, &read(expected), tolerance);
        }
    });
}
