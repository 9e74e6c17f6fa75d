//! Frozen linear layers: `shaders/linear.wgsl` for many rows, `shaders/linear_few.wgsl` for a few,
//! `shaders/linear_coop.wgsl` for many rows on cooperative matrices, and `shaders/linear_lanes.wgsl` for many rows on
//! software adapters.
//!
//! Tensors above the binding limit go in windows of rows of the activations and of rows of W. Forward's windows of W
//! are columns of y; backward's are summed in order, the sum being rounded to dx's type after each.

mod weight;
mod windows;

use std::ops::Range;

use anylora_engine::{DType, Dropout, Linear, LinearBackward, Result, Tensor, Weight};
use anylora_shaders::params;
use bytemuck::Zeroable;

use self::windows::{RowBits, for_software, part, windows};
use crate::Wgpu;
use crate::context::Launch;
use crate::matrix::Matrix;

const OP: &str = "linear";

/// Bits of `params.flags`, as `shaders/shared/linear_params.wgsl` has them.
const ACCUMULATE: u32 = 1;
const BIAS: u32 = 2;

/// Below this many rows, reading W takes the time.
const FEW_ROWS: u64 = 16;

pub(crate) fn linear(gpu: &Wgpu, op: Linear<'_, Wgpu>) -> Result<()> {
    run(
        gpu,
        &Product {
            forward: true,
            input: op.x,
            weight: op.weight,
            bias: op.bias,
            adapter: op.lora.map(|lora| [lora.xa, lora.b]),
            dropout: None,
            out: op.y,
        },
    )
}

pub(crate) fn linear_backward(gpu: &Wgpu, op: LinearBackward<'_, Wgpu>) -> Result<()> {
    run(
        gpu,
        &Product {
            forward: false,
            input: op.dy,
            weight: op.weight,
            bias: None,
            adapter: op.lora.map(|lora| [lora.dyb, lora.a]),
            dropout: op.lora.and_then(|lora| lora.dropout),
            out: op.dx,
        },
    )
}

/// Forward or backward in the kernels' terms.
struct Product<'a> {
    forward: bool,
    /// x or dy.
    input: &'a Tensor<Wgpu>,
    weight: &'a Weight<Wgpu>,
    bias: Option<&'a Tensor<Wgpu>>,
    /// xa and B, or dyb and A.
    adapter: Option<[&'a Tensor<Wgpu>; 2]>,
    dropout: Option<Dropout>,
    /// y or dx.
    out: &'a Tensor<Wgpu>,
}

fn run(gpu: &Wgpu, product: &Product<'_>) -> Result<()> {
    let rows = product.input.leading() as u64;
    let n = product.weight.shape()[0] as u64;
    let mut by_row = vec![RowBits::of(product.input, rows), RowBits::of(product.out, rows)];
    let mut by_n = weight::row_bits(product.weight)?;
    if let Some([left, right]) = product.adapter {
        by_row.push(RowBits::of(left, rows));
        if product.forward {
            by_n.push(RowBits::of(right, n));
        }
    }
    let mut weight_windows = windows(gpu, OP, n, &by_n)?;
    if !product.forward && gpu.is_software() {
        weight_windows = for_software(weight_windows);
    }
    for rows in windows(gpu, OP, rows, &by_row)? {
        for window in &weight_windows {
            launch(gpu, product, &rows, window)?;
        }
    }
    Ok(())
}

/// One window of rows and one of W.
fn launch(gpu: &Wgpu, product: &Product<'_>, rows: &Range<u64>, window: &Range<u64>) -> Result<()> {
    let Product {
        forward,
        input,
        weight,
        out,
        ..
    } = *product;
    let k = weight.shape()[1] as u64;
    let count = rows.end - rows.start;
    let width = window.end - window.start;
    let (inner, outer) = if forward { (k, width) } else { (width, k) };
    let mut params = params::Linear {
        rows: count as u32,
        inner: inner as u32,
        outer: outer as u32,
        row_first: rows.start as u32,
        ..params::Linear::zeroed()
    };
    let mut bindings = weight::bind(gpu, weight, window, &mut params);

    // Whole rows of the activations; the window of W chooses columns of one of them.
    let activation = |tensor: &Tensor<Wgpu>| {
        let size = tensor.dtype().size() as u64;
        let row = tensor.columns() as u64 * size;
        let part = part(gpu, tensor, rows.start * row..rows.end * row);
        (part.bind, part.skipped / size)
    };
    let (bind, skipped) = activation(input);
    bindings.push(("input", bind));
    params.input_first = (skipped + if forward { 0 } else { window.start }) as u32;
    params.input_stride = input.columns() as u32;
    let (bind, skipped) = activation(out);
    bindings.push(("out", bind));
    params.out_first = (skipped + if forward { window.start } else { 0 }) as u32;
    params.out_stride = out.columns() as u32;
    for (flag, set) in [
        (ACCUMULATE, !forward && window.start > 0),
        (BIAS, product.bias.is_some()),
    ] {
        params.flags |= if set { flag } else { 0 };
    }

    if forward {
        bindings.push(match product.bias {
            Some(bias) => {
                let part = part(gpu, bias, window.start * 4..window.end * 4);
                params.bias_first = (part.skipped / 4) as u32;
                ("bias", part.bind)
            }
            None => ("bias", gpu.dummy()),
        });
    }
    // Backward's first window adds the adapter's share for all.
    match product.adapter.filter(|_| forward || window.start == 0) {
        Some([left, right]) => {
            let rank = left.columns() as u64;
            let (bind, skipped) = activation(left);
            bindings.push(("left", bind));
            params.left_first = skipped as u32;
            let of = if forward { window.clone() } else { 0..rank };
            let row = right.columns() as u64 * 4;
            let part = part(gpu, right, of.start * row..of.end * row);
            bindings.push(("right", part.bind));
            params.right_first = (part.skipped / 4) as u32;
            params.rank = rank as u32;
        }
        None => bindings.extend([("left", gpu.dummy()), ("right", gpu.dummy())]),
    }
    if let Some(dropout) = product.dropout.filter(|_| params.rank > 0) {
        params.dropout_key = dropout.key();
        params.dropout_step = dropout.step;
        params.dropout_layer = dropout.layer;
        params.dropout_threshold = dropout.threshold();
        params.dropout_keep = dropout.keep_scale();
    }

    let variant = Variant::choose(gpu, product, &params);
    let aligned = variant != Variant::Tiles { aligned: false };
    let mut defines = vec![
        ("WEIGHT", weight::format(weight)),
        ("ACT", gpu.act(input.dtype())),
        ("OUT", gpu.act(out.dtype())),
        ("ALIGNED", if aligned { "1" } else { "0" }),
    ];
    let direction = ("DIRECTION", if forward { "forward" } else { "backward" });
    let (kernel, tiles) = match variant {
        Variant::Few { rows, columns } => {
            defines.extend([("ROWS", rows), ("REDUCE", gpu.reduce())]);
            ("linear_few", outer.div_ceil(columns))
        }
        Variant::Matrices(matrix) => {
            defines.extend([direction, ("SIZE", matrix.size), ("MMA", matrix.mma)]);
            ("linear_coop", count.div_ceil(64) * outer.div_ceil(64))
        }
        Variant::Lanes => {
            defines.extend([direction, ("SUBGROUP", "8")]);
            ("linear_lanes", count.div_ceil(16) * outer.div_ceil(64))
        }
        Variant::Tiles { .. } => {
            defines.push(direction);
            ("linear", count.div_ceil(64) * outer.div_ceil(64))
        }
    };
    gpu.launch(&Launch {
        kernel,
        defines: &defines,
        entry: "main",
        params: bytemuck::bytes_of(&params),
        bindings: &bindings,
        workgroups: gpu.spread(tiles),
    })
}

/// Which kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    /// `shaders/linear.wgsl`.
    Tiles { aligned: bool },
    /// `shaders/linear_few.wgsl`: its rows, and its columns a workgroup.
    Few { rows: &'static str, columns: u64 },
    /// `shaders/linear_coop.wgsl`.
    Matrices(Matrix),
    /// `shaders/linear_lanes.wgsl`.
    Lanes,
}

impl Variant {
    /// The fastest one that computes this here.
    fn choose(gpu: &Wgpu, product: &Product<'_>, params: &params::Linear) -> Self {
        let quads = |sizes: &[u32]| sizes.iter().all(|size| size.is_multiple_of(4));
        let read = [params.input_first, params.input_stride, params.inner];
        if !quads(&read) || !quads(&[params.weight_first, params.columns]) {
            return Self::Tiles { aligned: false };
        }
        if product.forward && u64::from(params.rows) < FEW_ROWS && params.columns.is_multiple_of(8) {
            let (rows, columns) = match params.rows {
                1 => ("1", 4),
                2..=4 => ("4", 4),
                _ => ("16", 2),
            };
            return Self::Few { rows, columns };
        }
        let aligned = quads(&[params.out_first, params.out_stride, params.outer]);
        if let Some(matrix) = gpu.0.matrix.filter(|_| aligned && matrices(product, params)) {
            return Self::Matrices(matrix);
        }
        let blocks = match product.weight {
            Weight::Dense(_) => true,
            Weight::Nf4(nf4) => nf4.block_size >= 64 && params.weight_first.is_multiple_of(32),
            Weight::Ggml(_) => false,
        };
        if gpu.is_software() && gpu.0.subgroup_size == Some(8) && params.columns.is_multiple_of(64) && blocks
        {
            return Self::Lanes;
        }
        Self::Tiles { aligned }
    }
}

/// Whether f16 matrices compute this: of many rows, f16 activations, and a weight whose values f16 can hold. Below 16
/// rows most of a matrix would be empty.
fn matrices(product: &Product<'_>, params: &params::Linear) -> bool {
    let weight = match product.weight {
        Weight::Dense(tensor) => tensor.dtype() == DType::F16,
        Weight::Nf4(_) => true,
        Weight::Ggml(_) => false,
    };
    weight && product.input.dtype() == DType::F16 && u64::from(params.rows) >= FEW_ROWS
}
