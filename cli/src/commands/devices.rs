//! `anylora devices`: what is here to compute with.

use std::fmt::Write;

use anyhow::Result;
use anylora_engine::{Backend, DeviceInfo, DeviceKind, DeviceSpec, Tier};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::adapters;
use clap::Args;
use serde::Serialize;

use crate::output;

/// List GPUs and engines, with their drivers, kernel tiers and limits.
///
/// The device that `--device auto` takes is marked with a star: a discrete GPU, else an integrated one, else the
/// CPU engine; never a software adapter, which is for tests.
#[derive(Debug, Args)]
#[command(after_help = "Example, for scripts:\n  anylora devices --json")]
pub struct Devices {
    /// Print one JSON object on stdout
    #[arg(long)]
    json: bool,
}

/// One device, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Device {
    device: String,
    auto: bool,
    engine: &'static str,
    name: String,
    backend: String,
    driver: String,
    kind: String,
    tier: Option<TierReport>,
    limits: Option<Limits>,
    threads: Option<usize>,
    memory_bytes: Option<u64>,
}

/// What an adapter has beside baseline WebGPU.
#[derive(Debug, Serialize)]
struct TierReport {
    name: String,
    f16: bool,
    subgroups: bool,
    cooperative_matrix: bool,
}

/// An adapter's limits.
#[derive(Debug, Serialize)]
struct Limits {
    max_binding_bytes: u64,
    max_buffer_bytes: u64,
    workgroup_memory_bytes: u32,
    max_invocations: u32,
}

#[derive(Debug, Serialize)]
struct Report {
    devices: Vec<Device>,
}

impl Devices {
    pub fn run(self) -> Result<()> {
        let report = Report { devices: list() };
        if self.json {
            return output::print_json(&report);
        }
        output::print(&text(&report.devices))
    }
}

/// Every adapter and the CPU engine.
fn list() -> Vec<Device> {
    let adapters = pollster::block_on(adapters());
    let mut devices: Vec<(DeviceKind, Device)> = adapters
        .into_iter()
        .map(|adapter| {
            let limits = Limits {
                max_binding_bytes: adapter.max_binding_bytes,
                max_buffer_bytes: adapter.max_buffer_bytes,
                workgroup_memory_bytes: adapter.workgroup_memory_bytes,
                max_invocations: adapter.max_invocations,
            };
            let device = Device {
                tier: Some(tier(adapter.tier)),
                limits: Some(limits),
                memory_bytes: adapter.memory_bytes,
                ..device(adapter.spec, &adapter.info)
            };
            (adapter.info.kind, device)
        })
        .collect();
    let cpu = Cpu::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let device = Device {
        threads: Some(threads),
        memory_bytes: host_memory_bytes(),
        ..device(DeviceSpec::Cpu, cpu.info())
    };
    devices.push((cpu.info().kind, device));

    // `DeviceKind` is ordered as `auto` prefers; of equals it takes the first.
    if let Some((_, device)) = devices.iter_mut().min_by_key(|(kind, _)| *kind) {
        device.auto = true;
    }
    devices.into_iter().map(|(_, device)| device).collect()
}

fn device(spec: DeviceSpec, info: &DeviceInfo) -> Device {
    Device {
        device: spec.to_string(),
        auto: false,
        engine: info.engine,
        name: info.name.clone(),
        backend: info.backend.clone(),
        driver: info.driver.clone(),
        kind: info.kind.to_string(),
        tier: None,
        limits: None,
        threads: None,
        memory_bytes: None,
    }
}

fn tier(tier: Tier) -> TierReport {
    TierReport {
        name: tier.to_string(),
        f16: tier.f16,
        subgroups: tier.subgroups,
        cooperative_matrix: tier.cooperative_matrix,
    }
}

/// All of this machine's memory, where the system says it in /proc.
fn host_memory_bytes() -> Option<u64> {
    let described = std::fs::read_to_string("/proc/meminfo").ok()?;
    let total = described
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn text(devices: &[Device]) -> String {
    let width = devices
        .iter()
        .map(|device| device.device.len())
        .max()
        .unwrap_or(0);
    let mut out = String::new();
    for device in devices {
        let star = if device.auto { '*' } else { ' ' };
        let mut line = |first: &str, text: String| {
            // Writing to a String can't fail.
            let _ = writeln!(out, "{first:width$}  {text}", width = width + 2);
        };
        line(
            &format!("{star} {}", device.device),
            format!("{} ({})", device.name, device.kind),
        );
        line(
            "",
            format!("engine {}, {} {}", device.engine, device.backend, device.driver),
        );
        if let Some(tier) = &device.tier {
            line("", format!("tier {}", tier.name));
        }
        if let Some(limits) = &device.limits {
            let binding = bytes(limits.max_binding_bytes);
            let buffer = bytes(limits.max_buffer_bytes);
            line("", format!("binds {binding} at once, buffers of up to {buffer}"));
            let shared = bytes(limits.workgroup_memory_bytes.into());
            line(
                "",
                format!(
                    "workgroups of {} invocations with {shared}",
                    limits.max_invocations
                ),
            );
        }
        if let Some(threads) = device.threads {
            line("", format!("{threads} threads"));
        }
        if let Some(memory) = device.memory_bytes {
            line("", format!("memory {}", bytes(memory)));
        }
    }
    out.push_str("\n* is what `--device auto` takes.\n");
    out
}

/// A size with one digit after the point, in binary units.
fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter().peekable();
    loop {
        match units.next() {
            Some(_) if value >= 1024.0 && units.peek().is_some() => value /= 1024.0,
            Some(unit) if (value - value.round()).abs() < 0.05 => return format!("{value:.0} {unit}"),
            unit => return format!("{value:.1} {}", unit.unwrap_or_default()),
        }
    }
}
