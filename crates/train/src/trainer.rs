//! The optimizer step: micro-batches in, parameters changed in place.

use anylora_data::Batch;
use anylora_engine::{Backend, DType, Side, Tensor};
use anylora_models::{Model, Targets};
use anylora_nn::{Adapters, LoraAdapter, Projection};

use crate::events::StepMetric;
use crate::initial::initial_values;
use crate::parameters::{OptimizerStep, Parameters, Target};
use crate::pass;
use crate::schedule::LearningRate;
use crate::snapshot::Progress;
use crate::{PeakBytes, TrainConfig, TrainError};

/// f16's smallest numbers are large: gradients are computed this many times too large at first.
const LOSS_SCALE: f32 = 65_536.0;
/// The scale doubles after this many finite steps in a row.
const STEADY_STEPS: usize = 2000;
/// This many steps in a row that are not finite end the run.
const MOST_SKIPPED: usize = 10;

/// The first values of a target's A or B, row-major.
pub type Initial<'a> = dyn Fn(&Target, Side) -> Vec<f32> + 'a;

/// A model, the adapter that is trained on it, and where training stands.
pub struct Trainer<B: Backend> {
    model: Model<B>,
    config: TrainConfig,
    parameters: Parameters<B>,
    /// Views of the parameters' buffers.
    adapters: Adapters<B>,
    rate: LearningRate,
    table: Tensor<B>,
    progress: Progress,
}

/// What a step's kernels are about to compute.
struct Queued<B: Backend> {
    /// `[2]` a micro-batch: sum of NLL, labels that counted.
    losses: Vec<Tensor<B>>,
    /// `[1, 1]`.
    sum_squares: Tensor<B>,
    trained_tokens: usize,
}

impl<B: Backend> Trainer<B> {
    /// A trainer for `total_steps` steps. `initial` gives a matrix's first values, by default PEFT's.
    ///
    /// # Errors
    /// Layers that no target matches, allocation and device errors.
    pub fn new(
        model: Model<B>,
        config: TrainConfig,
        total_steps: usize,
        initial: Option<&Initial<'_>>,
    ) -> Result<Self, TrainError> {
        let resolved = targets(&config).resolve(&model.config)?;
        let targets = resolved
            .iter()
            .map(|&(layer, projection)| {
                let block = model.blocks.block(layer)?;
                let [out_features, in_features] = block.linear(projection).weight.shape();
                Ok(Target {
                    module: projection.module(layer),
                    in_features,
                    out_features,
                    rank: config.rank,
                })
            })
            .collect::<Result<Vec<_>, TrainError>>()?;
        let backend = model.backend().clone();
        let first = |index: usize, target: &Target, side: Side| match initial {
            Some(initial) => initial(target, side),
            None => initial_values(config.seed, index, target, side),
        };
        let parameters = Parameters::new(&backend, targets, config.lora_scale(), first)?;
        let adapters = adapters(model.blocks.len(), &resolved, &parameters)?;
        let table = model.rope.table(&backend, config.max_length, config.max_length)?;
        let warmup_steps = config
            .warmup_steps
            .unwrap_or_else(|| (total_steps as f64 * 0.03).ceil() as usize);
        let progress = Progress {
            step: 0,
            updates: 0,
            position: anylora_data::Position::default(),
            tokens: 0,
            seconds: 0.0,
            loss_scale: if model.activation == DType::F16 {
                LOSS_SCALE
            } else {
                1.0
            },
            steady_steps: 0,
            skipped_in_a_row: 0,
            best: None,
            evaluations_since_best: 0,
            peak_device_bytes: PeakBytes::default(),
            data_checksum: None,
        };
        Ok(Self {
            rate: LearningRate {
                peak: config.lr,
                schedule: config.schedule,
                warmup_steps,
                total_steps,
            },
            model,
            config,
            parameters,
            adapters,
            table,
            progress,
        })
    }

    /// One optimizer step over micro-batches whose gradients are weighted by their trained tokens.
    ///
    /// A loss or gradient that is not finite leaves the parameters as they are.
    ///
    /// # Errors
    /// [`TrainError::NoTrainedTokens`], [`TrainError::NotFinite`] after ten such steps in a row, device errors.
    pub async fn step(&mut self, batches: &[Batch]) -> Result<StepMetric, TrainError> {
        let queued = self.queue(batches)?;
        let mut nll = 0.0;
        for loss in &queued.losses {
            nll += f64::from(loss.to_f32().await?[0]);
        }
        let loss_scale = self.progress.loss_scale;
        let loss = (nll / queued.trained_tokens as f64) as f32;
        let grad_norm = queued.sum_squares.to_f32().await?[0].sqrt() / loss_scale;
        let step = self.progress.step + 1;
        let lr = self.rate.at(step);
        let finite = loss.is_finite() && grad_norm.is_finite();
        if finite {
            self.update(lr, grad_norm)?;
        }
        self.count(finite, batches.iter().map(|batch| batch.tokens).sum())?;
        Ok(StepMetric {
            step,
            loss: Some(loss).filter(|loss| loss.is_finite()),
            grad_norm: Some(grad_norm).filter(|norm| norm.is_finite()),
            lr,
            tokens: queued.trained_tokens,
            input_tokens: batches.iter().map(|batch| batch.tokens).sum(),
            seconds: 0.0,
            skipped: !finite,
        })
    }

    /// A step without reading anything back, for plans: allocates and calls what [`Trainer::step`] does.
    ///
    /// # Errors
    /// As [`Trainer::step`].
    pub fn dry_step(&mut self, batches: &[Batch]) -> Result<(), TrainError> {
        let queued = self.queue(batches)?;
        self.update(self.rate.at(1), 0.0)?;
        drop(queued);
        Ok(())
    }

    /// Gradients and losses of a step.
    fn queue(&mut self, batches: &[Batch]) -> Result<Queued<B>, TrainError> {
        let trained_tokens: usize = batches.iter().map(|batch| batch.trained_tokens).sum();
        if trained_tokens == 0 {
            return Err(TrainError::NoTrainedTokens);
        }
        let grad_scale = self.progress.loss_scale / trained_tokens as f32;
        self.parameters.zero_grad()?;
        let mut losses = Vec::with_capacity(batches.len());
        for (index, batch) in batches.iter().enumerate() {
            let mask = (self.progress.step * self.config.grad_accum + index) as u32;
            self.adapters
                .set_dropout(self.config.dropout, self.config.seed, mask);
            losses.push(pass::forward_backward(
                &self.model,
                &self.adapters,
                batch,
                &self.table,
                grad_scale,
                self.config.recompute,
            )?);
        }
        Ok(Queued {
            losses,
            sum_squares: self.parameters.sum_squares()?,
            trained_tokens,
        })
    }

    fn update(&mut self, lr: f32, grad_norm: f32) -> Result<(), TrainError> {
        let config = &self.config;
        // As torch.nn.utils.clip_grad_norm_.
        let clip = if config.clip > 0.0 {
            (config.clip / (grad_norm + 1e-6)).min(1.0)
        } else {
            1.0
        };
        self.progress.updates += 1;
        Ok(self.parameters.step(&OptimizerStep {
            step: self.progress.updates,
            lr,
            lr_b: lr * config.lora_plus_ratio,
            betas: (config.beta1, config.beta2),
            eps: config.eps,
            weight_decay: config.weight_decay,
            grad_scale: clip / self.progress.loss_scale,
        })?)
    }

    /// Books a step, and adapts the loss scale.
    fn count(&mut self, finite: bool, tokens: usize) -> Result<(), TrainError> {
        let scaled = self.model.activation == DType::F16;
        let progress = &mut self.progress;
        progress.step += 1;
        progress.tokens += tokens as u64;
        if !finite {
            progress.steady_steps = 0;
            progress.skipped_in_a_row += 1;
            if scaled {
                progress.loss_scale = (progress.loss_scale / 2.0).max(1.0);
            }
            return if progress.skipped_in_a_row >= MOST_SKIPPED {
                Err(TrainError::NotFinite { step: progress.step })
            } else {
                Ok(())
            };
        }
        progress.skipped_in_a_row = 0;
        progress.steady_steps += 1;
        if scaled && progress.steady_steps >= STEADY_STEPS {
            progress.steady_steps = 0;
            progress.loss_scale *= 2.0;
        }
        Ok(())
    }

    /// The mean NLL of held-out micro-batches, and their trained tokens. `each` is told after every one.
    ///
    /// # Errors
    /// [`TrainError::NoTrainedTokens`], device errors.
    pub async fn evaluate(
        &mut self,
        batches: &[Batch],
        mut each: impl FnMut(usize),
    ) -> Result<(f32, usize), TrainError> {
        self.adapters.set_dropout(0.0, 0, 0);
        let (mut nll, mut tokens) = (0.0, 0.0);
        for (index, batch) in batches.iter().enumerate() {
            let loss = pass::evaluate(&self.model, Some(&self.adapters), batch, &self.table)?
                .to_f32()
                .await?;
            nll += f64::from(loss[0]);
            tokens += f64::from(loss[1]);
            each(index + 1);
        }
        if tokens == 0.0 {
            return Err(TrainError::NoTrainedTokens);
        }
        Ok(((nll / tokens) as f32, tokens as usize))
    }

    /// The base model.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// The trained parameters.
    pub fn parameters(&self) -> &Parameters<B> {
        &self.parameters
    }

    /// The adapter on the model's layers: views of the parameters.
    pub fn adapters(&self) -> &Adapters<B> {
        &self.adapters
    }

    /// Where training stands.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Where training stands, to be changed.
    pub fn progress_mut(&mut self) -> &mut Progress {
        &mut self.progress
    }

    /// Steps in all.
    pub fn total_steps(&self) -> usize {
        self.rate.total_steps
    }
}

/// The layers that the settings name.
fn targets(config: &TrainConfig) -> Targets {
    let layers = match config.layer_range() {
        Ok(Some(range)) => vec![range.start..=range.end - 1],
        _ => Vec::new(),
    };
    Targets {
        modules: config.target_modules.clone(),
        layers,
    }
}

fn adapters<B: Backend>(
    blocks: usize,
    resolved: &[(usize, Projection)],
    parameters: &Parameters<B>,
) -> Result<Adapters<B>, TrainError> {
    let mut adapters = Adapters::new(blocks);
    for (index, &(layer, projection)) in resolved.iter().enumerate() {
        let lora = parameters.lora(index, None)?;
        let adapter = LoraAdapter {
            a: lora.a,
            b: lora.b,
            grads: Some([lora.grad_a, lora.grad_b]),
            scale: lora.scale,
            dropout: None,
        };
        adapters.block_mut(layer).set(projection, adapter);
    }
    Ok(adapters)
}
