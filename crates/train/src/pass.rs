//! One forward and backward pass, block by block (Chen et al., "Training deep nets with sublinear memory cost",
//! arXiv 1604.06174).
//!
//! Forward keeps each block's input and nothing else. Backward walks the blocks in reverse: it replays a block on a
//! tape, runs the tape, and drops both. Below the first block with an adapter nothing is kept and nothing replayed.

use anylora_data::Batch;
use anylora_engine::{Backend, DType, MemoryKind, Tape, Tensor, Var, ops};
use anylora_models::Model;
use anylora_nn::{Adapters, Context, Eager};

use crate::TrainError;

fn context<B: Backend>(batch: &Batch, table: &Tensor<B>) -> Result<Context<B>, TrainError> {
    Ok(Context::new(
        [batch.rows, batch.length],
        Some(&batch.positions),
        batch.segments.as_deref(),
        table.clone(),
    )?)
}

fn labels<B: Backend>(batch: &Batch, backend: &B) -> Result<Tensor<B>, TrainError> {
    let bytes = bytemuck::cast_slice(&batch.labels);
    let kind = MemoryKind::Activations;
    Ok(Tensor::from_bytes(
        backend,
        &[batch.labels.len()],
        DType::I32,
        kind,
        bytes,
    )?)
}

/// What a block's backward starts from.
enum Kept<B: Backend> {
    /// Its input, to be replayed.
    Input(Tensor<B>),
    /// Its tape, with input and output.
    Tape(Tape<B>, Var, Var),
}

/// Adds the gradients of `grad_scale * sum of NLL` to the adapters' buffers and returns the sum of NLL and the number
/// of labels that counted, `[2]` f32. `table` is the rotary table, `[P, R]` with P at least the batch's length.
///
/// # Errors
/// Of the model and the device. What the pass held is free then; gradients are partial.
pub fn forward_backward<B: Backend>(
    model: &Model<B>,
    adapters: &Adapters<B>,
    batch: &Batch,
    table: &Tensor<B>,
    grad_scale: f32,
    recompute: bool,
) -> Result<Tensor<B>, TrainError> {
    let blocks = model.blocks.len();
    let first = adapters.iter().map(|(layer, ..)| layer).min().unwrap_or(blocks);
    let context = context(batch, table)?;
    let labels = labels(batch, model.backend())?;
    let mut kept = Vec::with_capacity(blocks);
    let mut x = model.embed(&batch.input_ids)?;
    for index in 0..blocks {
        model.blocks.prefetch(index + 1);
        let block = model.block(index, Some(adapters))?;
        if index >= first && !recompute {
            let mut tape = Tape::default();
            let input = tape.leaf(x, index > first);
            let output = block.forward(&mut tape, input, &context)?;
            x = tape.value(output).clone();
            kept.push(Kept::Tape(tape, input, output));
            continue;
        }
        if index >= first {
            kept.push(Kept::Input(x.clone()));
        }
        x = block.forward(&mut Eager, x, &context)?;
    }
    let normed = model.norm.forward(&mut Eager, &x)?;
    let head = ops::head_loss(&normed, &model.lm_head, &labels, Some(grad_scale))?;
    drop(normed);
    let Some(dy) = head.dx else { return Ok(head.loss) };
    let mut grad = ops::rms_norm_backward(&x, &model.norm.weight, model.norm.eps, &dy)?;
    drop((x, dy));
    for index in (first..blocks).rev() {
        let Some(state) = kept.pop() else { break };
        let (tape, input, output) = match state {
            Kept::Tape(tape, input, output) => (tape, input, output),
            Kept::Input(x) => {
                if index > first {
                    model.blocks.prefetch(index - 1);
                }
                let block = model.block(index, Some(adapters))?;
                let mut tape = Tape::default();
                let input = tape.leaf(x, index > first);
                let output = block.forward(&mut tape, input, &context)?;
                (tape, input, output)
            }
        };
        match tape.backward(output, grad, input)? {
            Some(dx) => grad = dx,
            None => break,
        }
    }
    Ok(head.loss)
}

/// The sum of NLL and the number of labels that counted, `[2]` f32, without gradients or dropout.
///
/// # Errors
/// Of the model and the device.
pub fn evaluate<B: Backend>(
    model: &Model<B>,
    adapters: Option<&Adapters<B>>,
    batch: &Batch,
    table: &Tensor<B>,
) -> Result<Tensor<B>, TrainError> {
    let context = context(batch, table)?;
    let labels = labels(batch, model.backend())?;
    let hidden = model.forward(&batch.input_ids, &context, adapters, |_, _| {})?;
    Ok(ops::head_loss(&hidden, &model.lm_head, &labels, None)?.loss)
}
