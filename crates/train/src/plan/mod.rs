//! What a run will take: the trainer itself, on a device that allocates nothing and counts.

mod host;
mod nearest;
mod probe;
mod search;
pub mod shapes;
mod table;

use anylora_checkpoint::{Checkpoint, FloatType, ModelConfig, TensorFormat};
use anylora_data::Batch;
use anylora_engine::{Backend, Caps, Cost, DType, Dry};
use anylora_models::{LoadOptions, Loader, Quantization, TensorSpec};
use serde::Serialize;

use crate::run::PeakBytes;
use crate::{Dtype, Quant, TrainConfig, TrainError, Trainer};

pub use host::Host;
pub use nearest::Nearest;
pub use probe::{Ceilings, probe};
pub use search::{Limits, Planner, Setting};
pub use table::{GPU_GIB, Row, rows};

/// One run's memory and work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Device memory at its highest, by kind; our own buffers, to the byte.
    pub peak_device_bytes: PeakBytes,
    /// Floating-point operations of a step's products (a multiply-add counts two).
    pub flops_per_step: f64,
    /// Bytes that a step's kernels read and write once each.
    pub bytes_per_step: f64,
    /// Those of the kernels without products.
    pub elementwise_bytes_per_step: f64,
    /// Kernel launches a step.
    pub launches_per_step: u64,
    /// Trained numbers.
    pub trainable_parameters: usize,
    /// Numbers of the base model.
    pub base_parameters: usize,
    /// Host memory beside the device's, while loading, stepping and saving.
    pub host: Host,
}

/// Plans a run of a model of this shape whose weights are stored as `stored`, with full rows of `max_length` tokens,
/// on a device of these capabilities.
///
/// # Errors
/// What training itself would answer: layers that no target matches, a tensor that the device can't bind.
pub fn plan(
    model: &ModelConfig,
    stored: DType,
    config: &TrainConfig,
    caps: Caps,
) -> Result<Plan, TrainError> {
    let stored = TensorFormat::Dense(match stored {
        DType::F16 => FloatType::F16,
        DType::BF16 => FloatType::BF16,
        _ => FloatType::F32,
    });
    plan_stored(model, |_| stored, config, caps)
}

/// Plans a run of a checkpoint's model, as [`plan`]: tensors that it has packed already stay so.
///
/// # Errors
/// As [`plan`].
pub fn plan_checkpoint(
    checkpoint: &Checkpoint,
    config: &TrainConfig,
    caps: Caps,
) -> Result<Plan, TrainError> {
    let stored = |spec: &TensorSpec| {
        let info = checkpoint.info(&spec.name);
        // Loading answers with all tensors that are missing.
        info.map_or(TensorFormat::Dense(FloatType::F32), |info| info.format)
    };
    plan_stored(checkpoint.config(), stored, config, caps)
}

fn plan_stored(
    model: &ModelConfig,
    stored: impl Fn(&TensorSpec) -> TensorFormat,
    config: &TrainConfig,
    caps: Caps,
) -> Result<Plan, TrainError> {
    let dry = Dry::new(caps, None);
    let options = load_options(config, &dry);
    let staging = host::staging_bytes(model, &stored, options)?;
    let model = Loader::plan(&dry, model, stored, options)?;
    let weight_bytes = dry.ledger().report().live;
    let base_parameters = model.parameters();
    // The adapter's values don't matter here, and making them takes most of the time of a large plan.
    let mut trainer = Trainer::new(model, config.clone(), 1, Some(&|_, _| Vec::new()))?;
    let before = dry.cost();
    dry.take_largest();
    let batch = full_batch(config);
    let batches: Vec<Batch> = (0..config.grad_accum).map(|_| batch.clone()).collect();
    trainer.dry_step(&batches)?;
    let after = dry.cost();
    let Cost {
        calls,
        flops,
        bytes,
        elementwise_bytes,
    } = Cost {
        calls: after.calls - before.calls,
        flops: after.flops - before.flops,
        bytes: after.bytes - before.bytes,
        elementwise_bytes: after.elementwise_bytes - before.elementwise_bytes,
    };
    let trainable_parameters = trainer.parameters().count();
    Ok(Plan {
        peak_device_bytes: PeakBytes::from(&dry.ledger().report()),
        flops_per_step: flops,
        bytes_per_step: bytes,
        elementwise_bytes_per_step: elementwise_bytes,
        launches_per_step: calls,
        trainable_parameters,
        base_parameters,
        host: Host {
            weight_bytes,
            staging_bytes: staging,
            largest_result_bytes: dry.take_largest(),
            batch_bytes: 16 * (config.batch_size * config.max_length * config.grad_accum) as u64,
            saving_bytes: host::saving_bytes(trainable_parameters),
        },
    })
}

/// How a run of these settings loads its model on a device.
pub fn load_options<B: Backend>(config: &TrainConfig, backend: &B) -> LoadOptions {
    let activation = match config.dtype {
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
    };
    LoadOptions {
        quantization: match config.quant {
            Quant::Nf4 => Some(Quantization {
                double: config.double_quant,
                ..Quantization::nf4()
            }),
            Quant::None => None,
        },
        dense: match config.dtype {
            Dtype::F32 => None,
            Dtype::F16 => Some(FloatType::F16),
            Dtype::Bf16 => Some(FloatType::BF16),
        },
        activation: if backend.caps().has_activation(activation) {
            activation
        } else {
            DType::F32
        },
    }
}

/// The type that most of a model's dense weights are stored in.
pub fn stored_dtype(checkpoint: &Checkpoint) -> DType {
    match checkpoint
        .info("model.embed_tokens.weight")
        .map(|info| info.format)
    {
        Ok(TensorFormat::Dense(FloatType::F16)) => DType::F16,
        Ok(TensorFormat::Dense(FloatType::BF16)) => DType::BF16,
        _ => DType::F32,
    }
}

/// Full rows: no packing can need more.
fn full_batch(config: &TrainConfig) -> Batch {
    let (rows, length) = (config.batch_size, config.max_length);
    let tokens = rows * length;
    Batch {
        rows,
        length,
        input_ids: vec![0; tokens],
        labels: vec![0; tokens],
        positions: (0..tokens).map(|i| (i % length) as u32).collect(),
        segments: config.packing.then(|| vec![0; tokens]),
        trained_tokens: tokens,
        tokens,
        ..Batch::default()
    }
}
