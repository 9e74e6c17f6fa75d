//! What fits into a device's memory, and how much the model's files take.

use std::path::Path;

use anyhow::Result;
use anylora_engine::DType;
use anylora_train::plan::{Limits, Nearest, Planner, Setting, shapes};
use anylora_train::{Quant, TrainConfig};
use serde::Serialize;

use super::size::Size;
use super::{ANY_GPU, method_name, shape, train_error};

/// What `--vram` asks.
#[derive(Debug, Serialize)]
pub struct Vram {
    pub bytes: u64,
    pub reserve_bytes: u64,
    /// Whether the settings fit as they are.
    pub fits: bool,
    pub limits: Vec<MethodLimits>,
    /// The peak of these settings with and without recompute.
    pub recompute: Toggle,
    /// The same for packing.
    pub packing: Toggle,
    /// What to change where they don't fit; None where nothing helps, or nothing has to.
    pub nearest: Option<Nearest>,
    /// The largest known shape that fits with QLoRA and one row, where nothing else does.
    pub smaller_model: Option<&'static str>,
}

/// The largest settings of one method.
#[derive(Debug, Serialize)]
pub struct MethodLimits {
    pub method: &'static str,
    pub recompute: bool,
    pub packing: bool,
    #[serde(flatten)]
    pub limits: Limits,
}

/// Peak bytes with a setting on and off; None where a buffer would be larger than the device allows.
#[derive(Debug, Serialize)]
pub struct Toggle {
    pub on: Option<u64>,
    pub off: Option<u64>,
}

/// What fits into `size` bytes, of which `reserve` are left to others.
pub fn fit(planner: &mut Planner<'_>, config: &TrainConfig, size: Size, reserve: Size) -> Result<Vram> {
    let budget = size.0.saturating_sub(reserve.0);
    let fits = planner.peak(config).map_err(train_error)? <= budget;
    let mut limits = Vec::new();
    for quant in [Quant::None, Quant::Nf4] {
        for (recompute, packing) in [
            (true, config.packing),
            (false, config.packing),
            (config.recompute, !config.packing),
        ] {
            let config = TrainConfig {
                quant,
                recompute,
                packing,
                ..config.clone()
            };
            limits.push(MethodLimits {
                method: method_name(quant),
                recompute,
                packing,
                limits: planner.limits(&config, budget).map_err(train_error)?,
            });
        }
    }
    let mut toggle = |with: fn(&mut TrainConfig, bool)| {
        let mut peak = |on: bool| {
            let mut config = config.clone();
            with(&mut config, on);
            let peak = planner.peak(&config).map_err(train_error)?;
            Ok::<_, anyhow::Error>(Some(peak).filter(|&bytes| bytes < u64::MAX))
        };
        Ok::<_, anyhow::Error>(Toggle {
            on: peak(true)?,
            off: peak(false)?,
        })
    };
    let recompute = toggle(|config, on| config.recompute = on)?;
    let packing = toggle(|config, on| config.packing = on)?;
    let nearest = match fits {
        true => None,
        false => planner.nearest(config, budget).map_err(train_error)?,
    };
    let smaller_model = match fits || nearest.is_some() {
        true => None,
        false => largest_shape(config, budget)?,
    };
    Ok(Vram {
        bytes: size.0,
        reserve_bytes: reserve.0,
        fits,
        limits,
        recompute,
        packing,
        nearest,
        smaller_model,
    })
}

/// The shape with the most parameters that fits with QLoRA, one row, and these settings else.
fn largest_shape(config: &TrainConfig, budget: u64) -> Result<Option<&'static str>> {
    let config = TrainConfig {
        quant: Quant::Nf4,
        recompute: true,
        ..Setting::BatchSize.with(config, 1)
    };
    let mut largest = None;
    for name in shapes::names() {
        let plan = Planner::new(&shape(name)?, DType::BF16, ANY_GPU)
            .plan(&config)
            .map_err(train_error)?;
        if plan.peak_device_bytes.total <= budget {
            largest = largest.max(Some((plan.base_parameters, name)));
        }
    }
    Ok(largest.map(|(_, name)| name))
}

/// The size of a model's weight files: a file, or those of a folder. What can't be read counts nothing.
pub fn files_bytes(path: &Path) -> u64 {
    let size = |path: &Path| path.metadata().map_or(0, |about| about.len());
    if path.is_file() {
        return size(path);
    }
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let weights = entries.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "safetensors" || extension == "gguf")
    });
    weights.map(|path| size(&path)).sum()
}
