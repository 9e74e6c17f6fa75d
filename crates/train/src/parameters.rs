//! The adapter's matrices with their gradients and optimizer state.
//!
//! Matrices of one side (A or B) stand one after the other in a few large buffers, so that zeroing, the norm and the
//! optimizer take a launch a buffer instead of one a matrix. What lies between them stays 0.

use std::ops::Range;

use anylora_engine::{AdamW, Backend, DType, Dropout, Lora, MemoryKind, Result, Side, Tensor, ops};

/// Matrices start at multiples of this many elements: 256 bytes, which every device binds at.
const ALIGN: usize = 64;
/// Elements of a buffer at most (32 MiB), unless one matrix alone has more.
const BUFFER: usize = 8 << 20;

/// A linear layer that gets an adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `model.layers.0.self_attn.q_proj`.
    pub module: String,
    /// K, columns of A.
    pub in_features: usize,
    /// N, rows of B.
    pub out_features: usize,
    /// Rows of A and columns of B.
    pub rank: usize,
}

impl Target {
    fn len(&self, side: Side) -> usize {
        match side {
            Side::A => self.rank * self.in_features,
            Side::B => self.out_features * self.rank,
        }
    }

    fn shape(&self, side: Side) -> [usize; 2] {
        match side {
            Side::A => [self.rank, self.in_features],
            Side::B => [self.out_features, self.rank],
        }
    }
}

/// Where a matrix stands.
#[derive(Clone, Debug)]
struct Place {
    buffer: usize,
    range: Range<usize>,
}

/// One buffer of matrices of one side.
struct Buffer<B: Backend> {
    side: Side,
    /// Each `[len]` f32.
    param: Tensor<B>,
    grad: Tensor<B>,
    m: Tensor<B>,
    v: Tensor<B>,
}

/// What a [`Parameters::step`] takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerStep {
    /// From 1.
    pub step: u32,
    /// A's learning rate.
    pub lr: f32,
    /// B's.
    pub lr_b: f32,
    /// AdamW's betas.
    pub betas: (f32, f32),
    /// AdamW's epsilon.
    pub eps: f32,
    /// Decoupled decay.
    pub weight_decay: f32,
    /// On the gradients: clipping and loss scaling.
    pub grad_scale: f32,
}

/// All trained parameters of a run.
pub struct Parameters<B: Backend> {
    targets: Vec<Target>,
    /// `[A, B]` of each target.
    places: Vec<[Place; 2]>,
    buffers: Vec<Buffer<B>>,
    scale: f32,
}

/// The three states of a parameter that a checkpoint holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The value.
    Param,
    /// The first moment.
    M,
    /// The second moment.
    V,
}

impl<B: Backend> Parameters<B> {
    /// Room for the adapter of `targets`, gradients and moments 0. `initial(index, target, side)` gives a
    /// matrix's values, row-major; none leaves it 0.
    ///
    /// # Errors
    /// Allocation and device errors.
    pub fn new(
        backend: &B,
        targets: Vec<Target>,
        scale: f32,
        initial: impl Fn(usize, &Target, Side) -> Vec<f32>,
    ) -> Result<Self> {
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); targets.len()];
        let mut layout: Vec<(Side, usize)> = Vec::new();
        for side in [Side::A, Side::B] {
            let mut open: Option<usize> = None;
            for (target, places) in targets.iter().zip(&mut places) {
                let len = target.len(side);
                let padded = len.next_multiple_of(ALIGN);
                let buffer = match open.filter(|&buffer| layout[buffer].1 + padded <= BUFFER) {
                    Some(buffer) => buffer,
                    None => {
                        layout.push((side, 0));
                        layout.len() - 1
                    }
                };
                open = Some(buffer);
                let start = layout[buffer].1;
                layout[buffer].1 += padded;
                places.push(Place {
                    buffer,
                    range: start..start + len,
                });
            }
        }
        let places: Vec<[Place; 2]> = places
            .into_iter()
            .filter_map(|places| places.try_into().ok())
            .collect();
        let mut buffers = Vec::new();
        for (index, &(side, len)) in layout.iter().enumerate() {
            let mut values = vec![0.0; len];
            for (number, (target, pair)) in targets.iter().zip(&places).enumerate() {
                let place = &pair[side as usize];
                if place.buffer == index {
                    let given = initial(number, target, side);
                    if !given.is_empty() {
                        values[place.range.clone()].copy_from_slice(&given);
                    }
                }
            }
            let empty = |kind| Tensor::empty(backend, &[len], DType::F32, kind);
            let buffer = Buffer {
                side,
                param: Tensor::from_f32(backend, &[len], MemoryKind::Adapter, &values)?,
                grad: empty(MemoryKind::Gradients)?,
                m: empty(MemoryKind::Optimizer)?,
                v: empty(MemoryKind::Optimizer)?,
            };
            for tensor in [&buffer.grad, &buffer.m, &buffer.v] {
                ops::fill(tensor, 0.0)?;
            }
            buffers.push(buffer);
        }
        Ok(Self {
            targets,
            places,
            buffers,
            scale,
        })
    }

    /// The layers that have an adapter.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Trained numbers.
    pub fn count(&self) -> usize {
        let of = |target: &Target| target.len(Side::A) + target.len(Side::B);
        self.targets.iter().map(of).sum()
    }

    /// The matrices of target `index`, with the dropout of this step.
    ///
    /// # Errors
    /// Device errors.
    pub fn lora(&self, index: usize, dropout: Option<Dropout>) -> Result<Lora<B>> {
        let view = |side: Side, of: fn(&Buffer<B>) -> &Tensor<B>| {
            let place = &self.places[index][side as usize];
            let buffer = &self.buffers[place.buffer];
            of(buffer)
                .rows(place.range.clone())?
                .reshape(&self.targets[index].shape(side))
        };
        Ok(Lora {
            a: view(Side::A, |buffer| &buffer.param)?,
            b: view(Side::B, |buffer| &buffer.param)?,
            grad_a: view(Side::A, |buffer| &buffer.grad)?,
            grad_b: view(Side::B, |buffer| &buffer.grad)?,
            scale: self.scale,
            dropout,
        })
    }

    /// The sum of the squares of all gradients, `[1, 1]` f32.
    ///
    /// # Errors
    /// Device errors.
    pub fn sum_squares(&self) -> Result<Tensor<B>> {
        let grads: Vec<_> = self.buffers.iter().map(|buffer| &buffer.grad).collect();
        ops::sum_squares(&grads)
    }

    /// Makes all gradients 0.
    ///
    /// # Errors
    /// Device errors.
    pub fn zero_grad(&self) -> Result<()> {
        self.buffers
            .iter()
            .try_for_each(|buffer| ops::fill(&buffer.grad, 0.0))
    }

    /// One AdamW step.
    ///
    /// # Errors
    /// Device errors.
    pub fn step(&self, step: &OptimizerStep) -> Result<()> {
        self.buffers.iter().try_for_each(|buffer| {
            ops::adamw(AdamW {
                param: &buffer.param,
                grad: &buffer.grad,
                m: &buffer.m,
                v: &buffer.v,
                step: step.step,
                lr: match buffer.side {
                    Side::A => step.lr,
                    Side::B => step.lr_b,
                },
                betas: step.betas,
                eps: step.eps,
                weight_decay: step.weight_decay,
                grad_scale: step.grad_scale,
            })
        })
    }

    /// One state of all matrices on the host, `[A, B]` of each target.
    ///
    /// # Errors
    /// Device errors.
    pub async fn download(&self, state: State) -> Result<Vec<[Vec<f32>; 2]>> {
        self.collect(|buffer| match state {
            State::Param => &buffer.param,
            State::M => &buffer.m,
            State::V => &buffer.v,
        })
        .await
    }

    /// The gradients of all matrices on the host, `[A, B]` of each target.
    ///
    /// # Errors
    /// Device errors.
    pub async fn download_grads(&self) -> Result<Vec<[Vec<f32>; 2]>> {
        self.collect(|buffer| &buffer.grad).await
    }

    async fn collect(&self, of: impl Fn(&Buffer<B>) -> &Tensor<B>) -> Result<Vec<[Vec<f32>; 2]>> {
        let mut all = Vec::new();
        for buffer in &self.buffers {
            all.push(of(buffer).to_f32().await?);
        }
        let one = |place: &Place| all[place.buffer][place.range.clone()].to_vec();
        Ok(self.places.iter().map(|[a, b]| [one(a), one(b)]).collect())
    }

    /// Overwrites one state of all matrices, in the order of [`Parameters::download`].
    ///
    /// # Errors
    /// Device errors.
    pub fn upload(&self, state: State, values: &[[Vec<f32>; 2]]) -> Result<()> {
        for (index, buffer) in self.buffers.iter().enumerate() {
            let mut whole = vec![0f32; buffer.param.len()];
            for (places, values) in self.places.iter().zip(values) {
                for (place, values) in places.iter().zip(values) {
                    if place.buffer == index {
                        whole[place.range.clone()].copy_from_slice(values);
                    }
                }
            }
            let tensor = match state {
                State::Param => &buffer.param,
                State::M => &buffer.m,
                State::V => &buffer.v,
            };
            tensor.upload(bytemuck::cast_slice(&whole))?;
        }
        Ok(())
    }
}
