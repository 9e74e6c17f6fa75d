use anylora_engine::{Result, Tensor};

use crate::Cuda;
use crate::launch::{Launch, arguments, count};

pub(crate) fn cross_entropy(
    gpu: &Cuda,
    logits: &Tensor<Cuda>,
    labels: &Tensor<Cuda>,
    grad_scale: Option<f32>,
    stats: &Tensor<Cuda>,
    column: usize,
) -> Result<()> {
    const OP: &str = "cross_entropy";
    let (vocab, width) = (count(OP, logits.columns())?, count(OP, stats.columns())?);
    let column = count(OP, column)?;
    let gradient = u32::from(grad_scale.is_some());
    gpu.launch(Launch {
        file: "cross_entropy",
        defines: &[],
        kernel: "cross_entropy",
        blocks: logits.leading() as u64,
        threads: 256,
        shared_bytes: 0,
        arguments: arguments![
            logits,
            labels,
            stats,
            vocab,
            width,
            column,
            gradient,
            grad_scale.unwrap_or(0.0)
        ],
    })
}
