use anylora_engine::{DType, Error, Result, Tensor};
use half::{bf16, f16};

use crate::Cuda;
use crate::launch::{Launch, address, arguments, elementwise, float};

pub(crate) fn add(gpu: &Cuda, a: &Tensor<Cuda>, b: &Tensor<Cuda>, out: &Tensor<Cuda>) -> Result<()> {
    gpu.launch(Launch {
        file: "elementwise",
        defines: &[("ACT", float(a.dtype()))],
        kernel: "add",
        blocks: elementwise(a.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![a, b, out, a.len() as u64],
    })
}

pub(crate) fn scale(gpu: &Cuda, x: &Tensor<Cuda>, factor: f32) -> Result<()> {
    gpu.launch(Launch {
        file: "elementwise",
        defines: &[("ACT", float(x.dtype()))],
        kernel: "scale",
        blocks: elementwise(x.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![x, factor, x.len() as u64],
    })
}

pub(crate) fn fill(gpu: &Cuda, x: &Tensor<Cuda>, value: f32) -> Result<()> {
    let (kernel, bits) = match x.dtype() {
        DType::F32 => ("fill_words", value.to_bits()),
        DType::U32 => ("fill_words", value as u32),
        DType::I32 => ("fill_words", (value as i32).cast_unsigned()),
        DType::F16 => ("fill_halves", u32::from(f16::from_f32(value).to_bits())),
        DType::BF16 => ("fill_halves", u32::from(bf16::from_f32(value).to_bits())),
        DType::U8 => {
            return Err(Error::Unsupported {
                op: "fill",
                what: "u8".to_owned(),
                engine: "cuda".to_owned(),
            });
        }
    };
    gpu.launch(Launch {
        file: "fill",
        defines: &[],
        kernel,
        blocks: elementwise(x.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![x, bits, x.len() as u64],
    })
}

pub(crate) fn cast(gpu: &Cuda, x: &Tensor<Cuda>, out: &Tensor<Cuda>) -> Result<()> {
    gpu.launch(Launch {
        file: "cast",
        defines: &[("FROM", float(x.dtype())), ("TO", float(out.dtype()))],
        kernel: "cast",
        blocks: elementwise(x.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![x, out, x.len() as u64],
    })
}

pub(crate) fn copy(gpu: &Cuda, x: &Tensor<Cuda>, out: &Tensor<Cuda>) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    gpu.driver()
        .copy(address(x).0, address(out).0, x.size_bytes() as u64)
}

pub(crate) fn swiglu(gpu: &Cuda, gate: &Tensor<Cuda>, up: &Tensor<Cuda>, out: &Tensor<Cuda>) -> Result<()> {
    gpu.launch(Launch {
        file: "swiglu",
        defines: &[("ACT", float(gate.dtype()))],
        kernel: "swiglu",
        blocks: elementwise(gate.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![gate, up, out, gate.len() as u64],
    })
}

pub(crate) fn swiglu_backward(
    gpu: &Cuda,
    gate: &Tensor<Cuda>,
    up: &Tensor<Cuda>,
    dy: &Tensor<Cuda>,
    dgate: &Tensor<Cuda>,
    dup: &Tensor<Cuda>,
) -> Result<()> {
    gpu.launch(Launch {
        file: "swiglu",
        defines: &[("ACT", float(gate.dtype()))],
        kernel: "swiglu_backward",
        blocks: elementwise(gate.len()),
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![gate, up, dy, dgate, dup, gate.len() as u64],
    })
}
