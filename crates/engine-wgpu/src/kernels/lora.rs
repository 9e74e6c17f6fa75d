//! `shaders/lora_down.wgsl` and `shaders/lora_grad.wgsl`.

use anylora_engine::{Backend, Dropout, LoraDown, LoraGrad, Result, Side, row_windows};
use anylora_shaders::params;

use crate::Wgpu;
use crate::context::Launch;

/// Invocations of a workgroup.
const THREADS: u64 = 256;
/// Rows that an invocation of `lora_down` has.
const ROWS: u64 = 4;
/// Steps of a lane that pay for adding up one lane more.
const WORTH: u64 = 4;

pub(crate) fn lora_down(gpu: &Wgpu, op: LoraDown<'_, Wgpu>) -> Result<()> {
    const OP: &str = "lora_down";
    let (rank, width) = (op.out.columns(), op.x.columns());
    let vector = width.is_multiple_of(4) && (op.side == Side::A || rank.is_multiple_of(4));
    let ranks = tile_ranks(rank, vector);
    let cells = if vector { width / 4 } else { width } as u64;
    let (row_bytes, out_bytes) = ((width * op.x.dtype().size()) as u64, (rank * 4) as u64);
    let (dropout, dropout_define) = dropout(op.dropout);
    for window in row_windows(OP, op.x.leading() as u64, &[row_bytes, out_bytes], gpu.caps())? {
        let rows = window.end - window.start;
        let tiles = |lanes: u64| rows.div_ceil(THREADS / lanes * ROWS) * (rank as u64).div_ceil(ranks);
        let mut lanes = if vector { 16 } else { 64 };
        for next in [64, 256] {
            // A workgroup of more lanes has fewer rows: right where there are few, or K is long enough to split.
            let few = rows <= THREADS / next * ROWS;
            let worth = tiles(lanes) < busy(gpu) && cells >= WORTH * next;
            if vector && (few || worth) {
                lanes = next;
            }
        }
        let params = params::LoraDown {
            dropout_key: dropout.key(),
            dropout_step: dropout.step,
            dropout_layer: dropout.layer,
            dropout_threshold: dropout.threshold(),
            dropout_keep: dropout.keep_scale(),
            rows: rows as u32,
            first: window.start as u32,
            cells: cells as u32,
            rank: rank as u32,
            scale: op.scale,
            ..Default::default()
        };
        gpu.launch(&Launch {
            kernel: OP,
            defines: &[
                ("SIDE", if op.side == Side::A { "a" } else { "b" }),
                ("WIDTH", if vector { "4" } else { "1" }),
                ("ACT", gpu.act(op.x.dtype())),
                ("DROPOUT", dropout_define),
                ("RANKS", if ranks == 8 { "8" } else { "16" }),
                ("LANES", lanes_define(lanes)),
            ],
            entry: "main",
            params: bytemuck::bytes_of(&params),
            bindings: &[
                ("x", gpu.bind_rows(op.x, window.clone(), row_bytes)),
                ("matrix", gpu.bind(op.matrix)),
                ("out", gpu.bind_rows(op.out, window.clone(), out_bytes)),
            ],
            workgroups: gpu.spread(tiles(lanes)),
        })?;
    }
    Ok(())
}

pub(crate) fn lora_grad(gpu: &Wgpu, op: LoraGrad<'_, Wgpu>) -> Result<()> {
    const OP: &str = "lora_grad";
    let (rank, width) = (op.thin.columns(), op.wide.columns());
    let vector = width.is_multiple_of(4) && rank.is_multiple_of(4);
    let ranks = tile_ranks(rank, vector);
    let cells = if vector { width / 4 } else { width } as u64;
    let tiles = |lanes: u64| cells.div_ceil(THREADS / lanes) * (rank as u64).div_ceil(ranks);
    // A narrow matrix makes few workgroups: then each takes fewer columns and splits the rows further.
    let worth = op.wide.leading() as u64 >= WORTH * 64;
    let lanes = if vector && worth && tiles(16) < busy(gpu) {
        64
    } else {
        16
    };
    let (thin_bytes, wide_bytes) = ((rank * 4) as u64, (width * op.wide.dtype().size()) as u64);
    let (dropout, dropout_define) = dropout(op.dropout);
    for window in row_windows(
        OP,
        op.wide.leading() as u64,
        &[thin_bytes, wide_bytes],
        gpu.caps(),
    )? {
        let params = params::LoraGrad {
            dropout_key: dropout.key(),
            dropout_step: dropout.step,
            dropout_layer: dropout.layer,
            dropout_threshold: dropout.threshold(),
            dropout_keep: dropout.keep_scale(),
            rows: (window.end - window.start) as u32,
            first: window.start as u32,
            cells: cells as u32,
            rank: rank as u32,
            rank_stride: if op.side == Side::A { width as u32 } else { 1 },
            column_stride: if op.side == Side::A { 1 } else { rank as u32 },
        };
        gpu.launch(&Launch {
            kernel: OP,
            defines: &[
                ("WIDTH", if vector { "4" } else { "1" }),
                ("ACT", gpu.act(op.wide.dtype())),
                ("DROPOUT", dropout_define),
                ("RANKS", if ranks == 8 { "8" } else { "16" }),
                ("LANES", lanes_define(lanes)),
            ],
            entry: "main",
            params: bytemuck::bytes_of(&params),
            bindings: &[
                ("thin", gpu.bind_rows(op.thin, window.clone(), thin_bytes)),
                ("wide", gpu.bind_rows(op.wide, window.clone(), wide_bytes)),
                ("grad", gpu.bind(op.grad)),
            ],
            workgroups: gpu.spread(tiles(lanes)),
        })?;
    }
    Ok(())
}

/// Below this many workgroups, a device has room for more of them.
fn busy(gpu: &Wgpu) -> u64 {
    if gpu.is_software() { 4 } else { 256 }
}

fn lanes_define(lanes: u64) -> &'static str {
    match lanes {
        16 => "16",
        64 => "64",
        _ => "256",
    }
}

/// Ranks that a workgroup has at once.
fn tile_ranks(rank: usize, vector: bool) -> u64 {
    if vector && rank <= 8 { 8 } else { 16 }
}

/// What `shaders/shared/philox.wgsl` reads, and the variant.
fn dropout(dropout: Option<Dropout>) -> (Dropout, &'static str) {
    match dropout.filter(|dropout| dropout.p > 0.0) {
        Some(dropout) => (dropout, "philox"),
        None => {
            let (p, seed, step, layer) = (0.0, 0, 0, 0);
            (Dropout { p, seed, step, layer }, "none")
        }
    }
}
