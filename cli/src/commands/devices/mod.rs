//! `anylora devices`: what is here to compute with, and whether it computes right.

mod list;
mod self_test;

use anyhow::Result;
use anylora_engine::{DeviceKind, DeviceSpec};
use clap::Args;
use serde::Serialize;

use crate::output;

/// List GPUs and engines, with their drivers, kernel tiers and limits.
///
/// The device that `--device auto` takes is marked with a star: an NVIDIA GPU by CUDA where this build has that, else a
/// discrete GPU, else an integrated one, else the CPU engine; never a software adapter, which is for tests.
///
/// With `--self-test` every operation runs forward and backward, in every weight format, on each GPU and on the CPU
/// engine, and is compared with the CPU engine. Printed is the worst error of each result, relative to its largest
/// value; the exit code is 1 where one is off.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    anylora devices\n  \
    anylora devices --self-test\n  \
    anylora devices --self-test --device software")]
pub struct Devices {
    /// Run every kernel and compare it with the CPU engine
    #[arg(long)]
    self_test: bool,
    /// Test this device alone: auto, cpu, software, `vulkan[:N]`, `metal[:N]`, `dx12[:N]` or
    /// `cuda[:N]`
    #[arg(long, env = "ANYLORA_DEVICE", value_name = "DEVICE")]
    device: Option<DeviceSpec>,
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<list::Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_test: Option<Vec<self_test::Tested>>,
}

impl Devices {
    /// Lists, and tests.
    pub fn run(self) -> Result<()> {
        let devices = list::devices();
        if !self.json {
            output::print(&list::text(&devices))?;
        }
        let mut tested = Vec::new();
        if self.self_test {
            for spec in self.specs(&devices) {
                let result = self_test::test(spec, self.device.is_none())?;
                if !self.json {
                    output::print(&self_test::text(&result))?;
                }
                tested.push(result);
            }
        }
        let failed = self_test::failed(&tested);
        if self.json {
            let self_test = self.self_test.then_some(tested);
            output::print_json(&Report { devices, self_test })?;
        }
        failed
    }

    /// What to test: all but software adapters, or what was asked for.
    fn specs(&self, devices: &[list::Device]) -> Vec<DeviceSpec> {
        match self.device {
            Some(spec) => vec![spec],
            None => {
                let real = devices
                    .iter()
                    .filter(|device| device.kind != DeviceKind::Software);
                real.map(|device| device.device).collect()
            }
        }
    }
}
