//! Every adapter and engine, and which one `auto` takes.

use std::fmt::Write;

use anylora_engine::{Backend, DeviceInfo, DeviceKind, DeviceSpec, Tier};
use anylora_engine_burn::Cpu;
use anylora_engine_wgpu::{AdapterReport, adapters};
use serde::Serialize;

use crate::cuda;

/// One device, as `--json` prints it.
#[derive(Debug, Serialize)]
pub struct Device {
    /// What opens it.
    #[serde(serialize_with = "as_text")]
    pub device: DeviceSpec,
    /// Whether `--device auto` takes it.
    auto: bool,
    engine: &'static str,
    name: String,
    backend: String,
    driver: String,
    /// What sort of device it is.
    #[serde(serialize_with = "as_text")]
    pub kind: DeviceKind,
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
    bf16: bool,
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

/// Writes what `Display` does.
pub fn as_text<T: std::fmt::Display, S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Every GPU of CUDA, every adapter, and the CPU engine.
pub fn devices() -> Vec<Device> {
    let adapters = pollster::block_on(adapters());
    let mut devices: Vec<Device> = cuda::gpus().into_iter().map(nvidia).collect();
    devices.extend(adapters.into_iter().map(adapter));
    devices.push(Device {
        threads: std::thread::available_parallelism().ok().map(usize::from),
        memory_bytes: crate::engine::host_memory_bytes(),
        ..device(DeviceSpec::Cpu, Cpu::new(None).info())
    });
    // `DeviceKind` is ordered as `auto` prefers; of equals it takes the first.
    if let Some(device) = devices.iter_mut().min_by_key(|device| device.kind) {
        device.auto = true;
    }
    devices
}

fn adapter(report: AdapterReport) -> Device {
    let tier = report.tier;
    Device {
        tier: Some(tier.into()),
        limits: Some(Limits {
            max_binding_bytes: report.max_binding_bytes,
            max_buffer_bytes: report.max_buffer_bytes,
            workgroup_memory_bytes: report.workgroup_memory_bytes,
            max_invocations: report.max_invocations,
        }),
        memory_bytes: report.memory_bytes,
        ..device(report.spec, &report.info)
    }
}

fn nvidia(gpu: cuda::Gpu) -> Device {
    Device {
        tier: Some(gpu.tier.into()),
        memory_bytes: Some(gpu.memory_bytes),
        ..device(DeviceSpec::Cuda(Some(gpu.index)), &gpu.info)
    }
}

impl From<Tier> for TierReport {
    fn from(tier: Tier) -> Self {
        Self {
            name: tier.to_string(),
            f16: tier.f16,
            bf16: tier.bf16,
            subgroups: tier.subgroups,
            cooperative_matrix: tier.cooperative_matrix,
        }
    }
}

fn device(device: DeviceSpec, info: &DeviceInfo) -> Device {
    Device {
        device,
        auto: false,
        engine: info.engine,
        name: info.name.clone(),
        backend: info.backend.clone(),
        driver: info.driver.clone(),
        kind: info.kind,
        tier: None,
        limits: None,
        threads: None,
        memory_bytes: None,
    }
}

/// A few lines a device, its name in the first column.
pub fn text(devices: &[Device]) -> String {
    let names: Vec<String> = devices.iter().map(|device| device.device.to_string()).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::new();
    for (device, name) in devices.iter().zip(names) {
        let star = if device.auto { '*' } else { ' ' };
        for (place, line) in lines(device).into_iter().enumerate() {
            let (star, name) = if place == 0 {
                (star, name.as_str())
            } else {
                (' ', "")
            };
            // Writing to a String can't fail.
            let _ = writeln!(out, "{star} {name:width$}  {line}");
        }
    }
    out.push_str("\n* is what `--device auto` takes.\n");
    out
}

fn lines(device: &Device) -> Vec<String> {
    let Device {
        name,
        kind,
        engine,
        backend,
        driver,
        ..
    } = device;
    let mut lines = vec![
        format!("{name} ({kind})"),
        format!("engine {engine}, {backend}, driver {driver}"),
    ];
    if let Some(tier) = &device.tier {
        lines.push(format!("tier {}", tier.name));
    }
    if let Some(limits) = &device.limits {
        let (binding, buffer) = (bytes(limits.max_binding_bytes), bytes(limits.max_buffer_bytes));
        lines.push(format!("binds {binding} at once, of buffers of up to {buffer}"));
        let shared = bytes(limits.workgroup_memory_bytes.into());
        lines.push(format!(
            "workgroups of up to {} invocations and {shared}",
            limits.max_invocations
        ));
    }
    if let Some(threads) = device.threads {
        lines.push(format!("{threads} threads"));
    }
    if let Some(memory) = device.memory_bytes {
        lines.push(format!("{} of memory", bytes(memory)));
    }
    lines
}

/// A size in the largest unit that leaves 1 or more, with at most one digit after the point.
fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = usize::from((value - value.round()).abs() >= 0.05);
    format!("{value:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes((2 << 30) - 1), "2 GiB");
        assert_eq!(bytes(u64::MAX), "16777216 TiB");
    }
}
