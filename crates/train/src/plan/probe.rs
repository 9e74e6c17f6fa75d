//! What a device does at best, measured: the time of a step follows from it.

use std::time::{Duration, Instant};

use anylora_engine::{Backend, DType, MemoryKind, Tensor, Weight, ops};
use anylora_quant::{BlockSize, Codebook, quantize};
use serde::{Deserialize, Serialize};

use super::Plan;
use crate::TrainError;

/// Rows of the measured products.
const ROWS: usize = 256;
/// Sizes of the measured matrices: the next is taken where a product is done sooner than this.
const SIZES: [usize; 4] = [512, 1024, 2048, 4096];
const TOO_SOON: Duration = Duration::from_millis(2);
/// How long each of the three is measured, about.
const MEASURED: Duration = Duration::from_millis(400);
/// Elements of the sum.
const ADDED: usize = 8 << 20;

/// A device's ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Floating-point operations a second of a frozen linear layer's forward pass, weights in the run's format.
    pub flops_per_second: f64,
    /// Bytes read and written a second by the sum of two tensors, as all kernels without products do little else.
    pub bytes_per_second: f64,
    /// Seconds that a kernel takes which has next to nothing to do.
    pub seconds_per_launch: f64,
}

impl Ceilings {
    /// Seconds a step, estimated: products at the rate of the measured one, the other kernels at that of a sum, and
    /// the launches. Backward products and attention may be slower than the measured product.
    pub fn step_seconds(&self, plan: &Plan) -> f64 {
        plan.flops_per_step / self.flops_per_second
            + plan.elementwise_bytes_per_step / self.bytes_per_second
            + plan.launches_per_step as f64 * self.seconds_per_launch
    }
}

/// Measures a device, for about two seconds. `quantized` says whether the weights are NF4, and with which absmax; else
/// they are dense, of type `dense`.
///
/// # Errors
/// Device errors.
pub async fn probe<B: Backend>(
    backend: &B,
    quantized: Option<bool>,
    dense: DType,
    activation: DType,
) -> Result<Ceilings, TrainError> {
    let mut flops_per_second = 0.0;
    for size in SIZES {
        let weight = weight(backend, size, quantized, dense)?;
        let x = filled(backend, &[ROWS, size], activation)?;
        let call = || ops::linear(&x, &weight, None).map(drop);
        let first = time(backend, 1, &call).await?;
        let again = match first > MEASURED.as_secs_f64() {
            true => first,
            false => time(backend, 1, &call).await?.min(first),
        };
        if again < TOO_SOON.as_secs_f64() && size < SIZES[SIZES.len() - 1] {
            continue;
        }
        let seconds = seconds_a_call(backend, again, &call).await?;
        flops_per_second = 2.0 * (ROWS * size * size) as f64 / seconds;
        break;
    }
    let x = filled(backend, &[ADDED], DType::F32)?;
    let y = filled(backend, &[ADDED], DType::F32)?;
    let add = || ops::add(&x, &y).map(drop);
    time(backend, 1, &add).await?;
    let once = time(backend, 1, &add).await?;
    let seconds = seconds_a_call(backend, once, &add).await?;
    let bytes_per_second = 3.0 * x.size_bytes() as f64 / seconds;
    let small = filled(backend, &[16], DType::F32)?;
    let nothing = || ops::scale(&small, 1.0);
    time(backend, 1, &nothing).await?;
    let once = time(backend, 16, &nothing).await? / 16.0;
    let seconds_per_launch = seconds_a_call(backend, once, &nothing).await?;
    Ok(Ceilings {
        flops_per_second,
        bytes_per_second,
        seconds_per_launch,
    })
}

/// Seconds a call of as many as take the measured time, going by one that took `once`.
async fn seconds_a_call<B: Backend>(
    backend: &B,
    once: f64,
    call: &impl Fn() -> anylora_engine::Result<()>,
) -> Result<f64, TrainError> {
    if once > MEASURED.as_secs_f64() {
        return Ok(once);
    }
    let calls = (MEASURED.as_secs_f64() / once.max(1e-6)).clamp(1.0, 1e5) as usize;
    Ok(time(backend, calls, call).await? / calls as f64)
}

async fn time<B: Backend>(
    backend: &B,
    calls: usize,
    call: &impl Fn() -> anylora_engine::Result<()>,
) -> Result<f64, TrainError> {
    backend.synchronize().await?;
    let start = Instant::now();
    for _ in 0..calls {
        call()?;
    }
    backend.synchronize().await?;
    Ok(start.elapsed().as_secs_f64())
}

fn filled<B: Backend>(backend: &B, shape: &[usize], dtype: DType) -> Result<Tensor<B>, TrainError> {
    let tensor = Tensor::empty(backend, shape, dtype, MemoryKind::Scratch)?;
    ops::fill(&tensor, 0.5)?;
    Ok(tensor)
}

/// `[size, size]` in the run's format. What its values are doesn't matter to the time.
fn weight<B: Backend>(
    backend: &B,
    size: usize,
    quantized: Option<bool>,
    dense: DType,
) -> Result<Weight<B>, TrainError> {
    let len = size * size;
    let Some(double) = quantized else {
        // 0.5 in each type, little-endian.
        let bytes = match dense {
            DType::F16 => 0x3800_u16.to_le_bytes().repeat(len),
            DType::BF16 => 0x3F00_u16.to_le_bytes().repeat(len),
            _ => 0.5_f32.to_le_bytes().repeat(len),
        };
        let dtype = match dense {
            DType::F16 | DType::BF16 => dense,
            _ => DType::F32,
        };
        return Ok(Weight::dense(backend, [size, size], dtype, &bytes)?);
    };
    let values: Vec<f32> = (0..len).map(|at| (at % 61) as f32 / 61.0 - 0.5).collect();
    let mut packed = quantize(&values, Codebook::Nf4, BlockSize::default()).map_err(failed)?;
    if double {
        packed = packed.double_quantize().map_err(failed)?;
    }
    Ok(Weight::quantized(backend, [size, size], &packed)?)
}

fn failed(error: anylora_quant::QuantError) -> TrainError {
    anylora_engine::Error::Argument {
        op: "probe",
        what: error.to_string(),
    }
    .into()
}
