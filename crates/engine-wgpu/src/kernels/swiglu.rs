use anylora_engine::{Result, Tensor};
use anylora_shaders::params;

use super::pointwise::Pointwise;
use crate::Wgpu;

pub(crate) fn swiglu(gpu: &Wgpu, gate: &Tensor<Wgpu>, up: &Tensor<Wgpu>, out: &Tensor<Wgpu>) -> Result<()> {
    launch(gpu, "forward", &[("gate", gate), ("up", up), ("y", out)])
}

pub(crate) fn swiglu_backward(
    gpu: &Wgpu,
    gate: &Tensor<Wgpu>,
    up: &Tensor<Wgpu>,
    dy: &Tensor<Wgpu>,
    dgate: &Tensor<Wgpu>,
    dup: &Tensor<Wgpu>,
) -> Result<()> {
    let tensors = [
        ("gate", gate),
        ("up", up),
        ("dy", dy),
        ("dgate", dgate),
        ("dup", dup),
    ];
    launch(gpu, "backward", &tensors)
}

/// All tensors have gate's shape and type.
fn launch(gpu: &Wgpu, entry: &str, tensors: &[(&str, &Tensor<Wgpu>)]) -> Result<()> {
    let act = tensors.first().map_or("f32", |(_, gate)| gpu.act(gate.dtype()));
    let kernel = Pointwise {
        op: "swiglu",
        kernel: "swiglu",
        defines: &[("ACT", act)],
        entry,
        tensors,
    };
    kernel.launch(gpu, |count| params::Swiglu { count })
}
