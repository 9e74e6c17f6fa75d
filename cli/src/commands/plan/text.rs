//! Plans for people, and tables.

use std::fmt::Write;

use anylora_train::plan::{GPU_GIB, Plan, Row};
use anylora_train::{PeakBytes, TrainConfig};
use indicatif::{HumanBytes, HumanCount};

use super::device::Surveyed;
use super::memory::{Toggle, Vram};
use super::method_name;

/// One run.
pub fn plan(name: &str, config: &TrainConfig, plan: &Plan) -> String {
    let share = 100.0 * plan.trainable_parameters as f64 / plan.base_parameters.max(1) as f64;
    let mut text = format!(
        "{name}, {}\n{} parameters, {} trained ({share:.3} %)\n\ndevice memory at its highest: {}\n",
        settings(config),
        HumanCount(plan.base_parameters as u64),
        HumanCount(plan.trainable_parameters as u64),
        HumanBytes(plan.peak_device_bytes.total),
    );
    for (kind, bytes) in &plan.peak_device_bytes.by_kind {
        // Writing to a String can't fail; so below.
        let _ = writeln!(text, "  {kind:12} {:>12}", HumanBytes(*bytes).to_string());
    }
    let _ = writeln!(
        text,
        "a step: {:.3} TFLOP, {} read and written, {} kernel launches",
        plan.flops_per_step / 1e12,
        HumanBytes(plan.bytes_per_step as u64),
        HumanCount(plan.launches_per_step),
    );
    text
}

/// Host memory, what the driver adds, and how long a step takes.
pub fn machine(host: &PeakBytes, device: Option<&Surveyed>, seconds: Option<f64>) -> String {
    let mut text = format!("host memory at its highest: about {}\n", HumanBytes(host.total));
    for (kind, what) in [
        ("program", "the program with its libraries, driver and tokenizer"),
        ("device", "the device's memory, which is the host's here"),
        ("transfer", "on the way to the device, or from it"),
        ("batches", "a step's tokens"),
        (
            "files",
            "pages of the model's files, which the system takes back when it needs them",
        ),
    ] {
        let bytes = host.by_kind.get(kind).copied().unwrap_or(0);
        if bytes > 0 {
            let _ = writeln!(text, "  {kind:12} {:>12}  {what}", HumanBytes(bytes).to_string());
        }
    }
    let Some(device) = device else {
        text += "what the driver adds, and the time of a step: --device auto opens the device here and measures it\n";
        return text;
    };
    let opening = match (device.opening.device_bytes, device.opening.host_bytes) {
        (Some(bytes), _) => format!("{} of device memory when it was opened", HumanBytes(bytes)),
        (None, Some(bytes)) => format!("{} of host memory when it was opened", HumanBytes(bytes)),
        (None, None) => "unknown: this system does not tell".to_owned(),
    };
    let _ = writeln!(text, "what the driver of {} adds: {opening}", device.name);
    if let (Some(seconds), Some(ceilings)) = (seconds, device.ceilings) {
        let _ = writeln!(
            text,
            "a step on {}: about {} (estimated from {} of products and {}/s of sums, measured)",
            device.name,
            duration(seconds),
            rate(ceilings.flops_per_second),
            HumanBytes(ceilings.bytes_per_second as u64),
        );
    }
    text
}

fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else if seconds < 120.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{:.0} minutes", seconds / 60.0)
    }
}

fn rate(flops_per_second: f64) -> String {
    if flops_per_second < 1e12 {
        format!("{:.1} GFLOP/s", flops_per_second / 1e9)
    } else {
        format!("{:.1} TFLOP/s", flops_per_second / 1e12)
    }
}

fn settings(config: &TrainConfig) -> String {
    format!(
        "{}, rank {}, {} x {} tokens{}, recompute {}",
        method_name(config.quant),
        config.rank,
        config.batch_size,
        config.max_length,
        match config.grad_accum {
            1 => String::new(),
            count => format!(" x {count} micro-batches"),
        },
        if config.recompute { "on" } else { "off" },
    )
}

/// What fits.
pub fn vram(config: &TrainConfig, vram: &Vram) -> String {
    let mut text = format!(
        "\n{} of device memory, {} of them left to the driver and other programs: {}\n\n",
        HumanBytes(vram.bytes),
        HumanBytes(vram.reserve_bytes),
        if vram.fits { "it fits" } else { "it does not fit" },
    );
    let _ = writeln!(
        text,
        "{:24}{:>16}{:>16}{:>16}",
        "largest with the rest as it is", "batch_size", "max_length", "rank"
    );
    for of in &vram.limits {
        let mut name = of.method.to_owned();
        if !of.recompute {
            name += ", recompute off";
        }
        if of.packing != config.packing {
            name += if of.packing {
                ", packing on"
            } else {
                ", packing off"
            };
        }
        let _ = write!(text, "{name:30}");
        for (limit, width) in [
            (of.limits.batch_size, 10),
            (of.limits.max_length, 16),
            (of.limits.rank, 16),
        ] {
            let limit = limit.map_or("-".to_owned(), |limit| limit.to_string());
            let _ = write!(text, "{limit:>width$}");
        }
        text.push('\n');
    }
    text += &toggle(
        "recompute",
        &vram.recompute,
        "a step computes each block's forward pass twice",
    );
    text += &toggle(
        "packing",
        &vram.packing,
        "short examples share a row, so fewer rows are padding",
    );
    text.push('\n');
    if vram.fits {
        return text;
    }
    match (&vram.nearest, vram.smaller_model) {
        (Some(nearest), _) => {
            let _ = writeln!(
                text,
                "\nthe nearest that fits, at {}: {}",
                HumanBytes(nearest.peak_bytes),
                nearest.options.join(" ")
            );
        }
        (None, Some(name)) => {
            let _ = writeln!(
                text,
                "\nno setting fits; a smaller model does: --shape {name} --method qlora --batch-size 1 --max-length {}",
                config.max_length
            );
        }
        (None, None) => text.push_str("\nno setting and no known model fits\n"),
    }
    text
}

/// What a setting changes.
fn toggle(name: &str, peaks: &Toggle, otherwise: &str) -> String {
    let bytes = |bytes: Option<u64>| {
        bytes.map_or("more than a buffer holds".to_owned(), |bytes| {
            HumanBytes(bytes).to_string()
        })
    };
    format!(
        "\n{name}: {} with, {} without; with it {otherwise}",
        bytes(peaks.on),
        bytes(peaks.off)
    )
}

/// Models down, cards across.
pub fn table(config: &TrainConfig, reserve: u64, rows: &[Row]) -> String {
    let mut text = format!(
        "The largest batch of {} tokens a row by card (rank {}, recompute {}, {} of each card left to others);\n\
         - where one row does not fit.\n\n{:16}{:8}{:>12}",
        config.max_length,
        config.rank,
        if config.recompute { "on" } else { "off" },
        HumanBytes(reserve),
        "",
        "",
        "1 row takes",
    );
    for gib in GPU_GIB {
        let _ = write!(text, "{:>7}", format!("{gib}GB"));
    }
    text.push('\n');
    for row in rows {
        let peak = HumanBytes(row.peak_bytes_at_batch_size_1).to_string();
        let _ = write!(text, "{:16}{:8}{peak:>12}", row.shape, row.method);
        for batch_size in &row.batch_size {
            let cell = batch_size.map_or("-".to_owned(), |size| size.to_string());
            let _ = write!(text, "{cell:>7}");
        }
        text.push('\n');
    }
    text
}

/// One line a model, method and card.
pub fn csv(config: &TrainConfig, rows: &[Row]) -> String {
    let mut text = "shape,method,rank,max_length,gpu_gib,batch_size,peak_bytes_at_batch_size_1\n".to_owned();
    for row in rows {
        for (gib, batch_size) in GPU_GIB.iter().zip(&row.batch_size) {
            let batch_size = batch_size.map_or(String::new(), |size| size.to_string());
            let _ = writeln!(
                text,
                "{},{},{},{},{gib},{batch_size},{}",
                row.shape, row.method, config.rank, config.max_length, row.peak_bytes_at_batch_size_1
            );
        }
    }
    text
}
