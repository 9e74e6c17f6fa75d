//! Products with frozen weights: which kernel, and its parameters.

use anylora_engine::{Absmax, DType, Dropout, Linear, LinearBackward, Result, Tensor, Weight};
use bytemuck::{Pod, Zeroable};

use super::lora::Mask;
use super::packed;
use crate::Cuda;
use crate::launch::{Address, Arguments, Launch, Struct, address, arguments, count, float};

const OP: &str = "linear";

/// `Product` of `cuda/shared/product.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Product {
    input: Address,
    out: Address,
    out_type: u32,
    rows: u32,
    inner: u32,
    outer: u32,
    bias: Address,
    left: Address,
    right: Address,
    rank: u32,
    padding: u32,
}

/// `Weight` of `cuda/shared/weight.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Frozen {
    values: Address,
    absmax: Address,
    codes: Address,
    nested: Address,
    tables: Address,
    offset: f32,
    block_shift: u32,
}

/// Rows that `linear_few` computes at most.
const FEW_ROWS: u32 = 16;

pub(crate) fn linear(gpu: &Cuda, op: Linear<'_, Cuda>) -> Result<()> {
    let Linear {
        x,
        weight,
        bias,
        lora,
        y,
    } = op;
    let adapter = lora.map(|lora| (lora.xa, lora.b, lora.xa.columns()));
    launch(gpu, true, x, weight, bias, adapter, None, y)
}

pub(crate) fn linear_backward(gpu: &Cuda, op: LinearBackward<'_, Cuda>) -> Result<()> {
    let LinearBackward { dy, weight, lora, dx } = op;
    let adapter = lora.map(|lora| (lora.dyb, lora.a, lora.dyb.columns()));
    let dropout = lora.and_then(|lora| lora.dropout);
    launch(gpu, false, dy, weight, None, adapter, dropout, dx)
}

#[expect(clippy::too_many_arguments, reason = "both directions' arguments")]
fn launch(
    gpu: &Cuda,
    forward: bool,
    input: &Tensor<Cuda>,
    weight: &Weight<Cuda>,
    bias: Option<&Tensor<Cuda>>,
    adapter: Option<(&Tensor<Cuda>, &Tensor<Cuda>, usize)>,
    dropout: Option<Dropout>,
    out: &Tensor<Cuda>,
) -> Result<()> {
    let [n, k] = weight.shape();
    let (inner, outer) = if forward { (k, n) } else { (n, k) };
    let place = |tensor: Option<&Tensor<Cuda>>| tensor.map(address).unwrap_or_default();
    let product = Product {
        input: address(input),
        out: address(out),
        out_type: match out.dtype() {
            DType::F16 => 1,
            DType::BF16 => 2,
            _ => 0,
        },
        rows: count(OP, input.leading())?,
        inner: count(OP, inner)?,
        outer: count(OP, outer)?,
        bias: place(bias),
        left: place(adapter.map(|(left, ..)| left)),
        right: place(adapter.map(|(_, right, _)| right)),
        rank: count(OP, adapter.map_or(0, |(.., rank)| rank))?,
        padding: 0,
    };
    let frozen = frozen(gpu, weight)?;
    // Runs of eight elements begin on whole vectors.
    let even = |size: usize| size.is_multiple_of(8);
    let vectors = |address: Address| address.0.is_multiple_of(16);
    let aligned = even(k) && (forward || even(n)) && vectors(product.input) && vectors(frozen.values);
    let kernel = Kernel::choose(forward, aligned, input.dtype(), weight, out.dtype(), product.rows);
    let aligned = kernel.aligned(aligned, input.dtype());
    let blocks = |rows: u32, columns: u32| {
        u64::from(product.rows.div_ceil(rows)) * u64::from(product.outer.div_ceil(columns))
    };
    let direction = ("FORWARD", if forward { "1" } else { "0" });
    let of_input = ("INPUT", float(input.dtype()));
    let format = ("WEIGHT", format(weight));
    let full = || arguments![Struct(product), Struct(frozen), Mask::of(dropout)];
    let (file, blocks, defines, arguments): (_, _, Vec<_>, Arguments) = match kernel {
        Kernel::Few(rows) => (
            "linear_few",
            u64::from(product.outer.div_ceil(8)),
            vec![("ROWS", rows), of_input, format, aligned],
            arguments![Struct(product), Struct(frozen)],
        ),
        Kernel::Mma(operands) => (
            "linear_mma",
            blocks(128, 128),
            vec![direction, ("MMA", operands), of_input, format, aligned],
            full(),
        ),
        Kernel::Tiles => (
            "linear",
            blocks(64, 64),
            vec![direction, of_input, format, aligned],
            full(),
        ),
    };
    gpu.launch(Launch {
        file,
        defines: &defines,
        kernel: file,
        blocks,
        threads: 256,
        shared_bytes: 0,
        arguments,
    })
}

/// Which file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kernel {
    /// `linear_few.cu` with its rows.
    Few(&'static str),
    /// `linear_mma.cu` with the operands' type.
    Mma(&'static str),
    /// `linear.cu`.
    Tiles,
}

impl Kernel {
    /// Few rows are bound by reading W. Tensor cores compute what has activations of 16 bits and a weight whose values
    /// that type holds, or that are rounded anyway; all else is computed in f32.
    fn choose(
        forward: bool,
        aligned: bool,
        input: DType,
        weight: &Weight<Cuda>,
        out: DType,
        rows: u32,
    ) -> Self {
        if forward && rows <= FEW_ROWS {
            return Self::Few(match rows {
                1 if aligned => "1",
                2..=4 if aligned => "4",
                _ => "16",
            });
        }
        let fits = |operands: DType| match weight {
            Weight::Dense(tensor) => tensor.dtype() == operands,
            Weight::Nf4(_) => true,
            Weight::Ggml(_) => false,
        };
        // The loss's gradient in the logits comes in f32, which bf16 spans and f16 doesn't.
        let operands = match (input, out) {
            (DType::F16, _) => DType::F16,
            (DType::BF16, _) | (DType::F32, DType::BF16) => DType::BF16,
            _ => return Self::Tiles,
        };
        if fits(operands) {
            Self::Mma(float(operands))
        } else {
            Self::Tiles
        }
    }

    /// The define of whether runs are aligned; the f32 kernel has such a variant for f32 alone.
    fn aligned(self, aligned: bool, input: DType) -> (&'static str, &'static str) {
        let has = self != Self::Tiles || input == DType::F32;
        ("ALIGNED", if aligned && has { "1" } else { "0" })
    }
}

/// A weight's format as the kernels name it.
fn format(weight: &Weight<Cuda>) -> &'static str {
    match weight {
        Weight::Dense(tensor) => float(tensor.dtype()),
        Weight::Nf4(_) => "nf4",
        Weight::Ggml(_) => "ggml",
    }
}

fn frozen(gpu: &Cuda, weight: &Weight<Cuda>) -> Result<Frozen> {
    let nf4 = match weight {
        Weight::Dense(tensor) => {
            return Ok(Frozen {
                values: address(tensor),
                ..Frozen::zeroed()
            });
        }
        Weight::Nf4(nf4) => nf4,
        Weight::Ggml(ggml) => return Err(packed("linear", &format!("a weight in {}", ggml.format.name()))),
    };
    let frozen = Frozen {
        values: address(&nf4.packed),
        tables: gpu.tables(&nf4.levels)?,
        block_shift: nf4.block_size.trailing_zeros(),
        ..Frozen::zeroed()
    };
    Ok(match &nf4.absmax {
        Absmax::F32(absmax) => Frozen {
            absmax: address(absmax),
            ..frozen
        },
        Absmax::Double {
            codes,
            nested,
            offset,
        } => Frozen {
            codes: address(codes),
            nested: address(nested),
            offset: *offset,
            ..frozen
        },
    })
}
