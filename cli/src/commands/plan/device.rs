//! What a device is like: its capabilities, what opening it took, how fast it is at best.

use anyhow::Result;
use anylora_engine::{Backend, Caps, DType, DeviceKind, DeviceSpec};
use anylora_train::plan::{self, Ceilings};
use anylora_train::{Dtype, Quant, TrainConfig};
use pollster::block_on;
use serde::Serialize;

use super::train_error;
use crate::cache;
use crate::engine::{Job, Opening, with_measured};

/// A device that was opened.
#[derive(Clone, Debug, Serialize)]
pub struct Surveyed {
    pub name: String,
    pub engine: &'static str,
    pub driver: String,
    #[serde(skip)]
    pub caps: Caps,
    #[serde(skip)]
    kind: DeviceKind,
    /// What opening it took, beside what a run takes.
    pub opening: Opening,
    /// How fast it is at best, where that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<Ceilings>,
}

impl Surveyed {
    /// Whether its memory is the host's.
    pub fn is_host(&self) -> bool {
        matches!(self.kind, DeviceKind::Cpu | DeviceKind::Software)
    }
}

/// What is measured: products with weights like a run's.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Whether a figure in the cache is left aside.
    again: bool,
    /// NF4, with double quantization or without.
    quantized: Option<bool>,
    dense: DType,
    /// Activations in f16, where the device has them.
    half: bool,
}

/// The weights of a run's linear layers, measured `again` or as the cache has it.
pub fn probe(config: &TrainConfig, stored: DType, again: bool) -> Probe {
    Probe {
        again,
        quantized: (config.quant == Quant::Nf4).then_some(config.double_quant),
        dense: match config.dtype {
            Dtype::F32 => stored,
            Dtype::F16 => DType::F16,
            Dtype::Bf16 => DType::BF16,
        },
        half: config.dtype == Dtype::F16,
    }
}

/// Opens a device. With a probe its ceilings are measured, or read from the user's cache.
pub fn survey(spec: DeviceSpec, probe: Option<Probe>) -> Result<Surveyed> {
    with_measured(spec, |opening| Survey { opening, probe })
}

struct Survey {
    opening: Opening,
    probe: Option<Probe>,
}

impl Job for Survey {
    type Output = Surveyed;

    fn run<B: Backend>(self, backend: B) -> Result<Surveyed> {
        let info = backend.info();
        let ceilings = self.probe.map(|probe| ceilings(&backend, probe)).transpose()?;
        Ok(Surveyed {
            name: info.name.clone(),
            engine: info.engine,
            driver: info.driver.clone(),
            caps: *backend.caps(),
            kind: info.kind,
            opening: self.opening,
            ceilings,
        })
    }
}

fn ceilings<B: Backend>(backend: &B, probe: Probe) -> Result<Ceilings> {
    let Probe {
        again,
        quantized,
        dense,
        half,
    } = probe;
    let activation = match half && backend.caps().has_activation(DType::F16) {
        true => DType::F16,
        false => DType::F32,
    };
    // All that the figures depend on, this build of the program included.
    let key = format!(
        "{} {:?} {} {activation} {quantized:?} {dense} {}",
        env!("CARGO_PKG_VERSION"),
        backend.info(),
        backend.caps().tier,
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    );
    cache::kept("probes", &key, again, || {
        anstream::eprintln!("measuring {} for two seconds", backend.info().name);
        block_on(plan::probe(backend, quantized, dense, activation)).map_err(train_error)
    })
}
