//! An adapter added into its base model's weights, tensor by tensor.

use anylora_checkpoint::{Adapter, Checkpoint, FloatType, LoraWeights, ModelWriter, TensorSpec};

use crate::{ModelError, Result, TensorProblem, layout};

/// `W += scale * B A`: W `[N, K]` row-major, A `[r, K]`, B `[N, r]`.
pub fn add_low_rank(weight: &mut [f32], lora: &LoraWeights, scale: f32) {
    let (k, r) = (lora.in_features, lora.r);
    for (row, b) in weight.chunks_exact_mut(k).zip(lora.b.chunks_exact(r)) {
        for (b, a) in b.iter().zip(lora.a.chunks_exact(k)) {
            let factor = scale * b;
            for (w, a) in row.iter_mut().zip(a) {
                *w += factor * a;
            }
        }
    }
}

/// The tensors that a merged model has, all of type `dtype`, for [`ModelWriter::create`].
///
/// # Errors
/// Those of [`layout`].
pub fn merged_specs(checkpoint: &Checkpoint, dtype: FloatType) -> Result<Vec<TensorSpec>> {
    let specs = layout(checkpoint.config())?.into_iter();
    Ok(specs
        .map(|spec| TensorSpec {
            name: spec.name,
            dtype,
            shape: spec.shape,
        })
        .collect())
}

/// Writes all tensors of the model with the adapter in them, one in memory at a time; `progress(done, of)` counts
/// them. 4-bit weights are dequantized first, and the adapter is added to what they stand for.
///
/// # Errors
/// [`ModelError::Adapter`] with every module that the model doesn't have or has in another shape, before anything is
/// written; file errors.
pub fn merge(
    checkpoint: &Checkpoint,
    adapter: &Adapter,
    writer: &mut ModelWriter,
    mut progress: impl FnMut(usize, usize),
) -> Result<()> {
    let specs = layout(checkpoint.config())?;
    check(adapter, &specs)?;
    for (done, spec) in specs.iter().enumerate() {
        progress(done, specs.len());
        let mut values = checkpoint.read(&spec.name)?.to_f32();
        let module = spec.name.strip_suffix(".weight");
        if let Some((module, lora)) = module.and_then(|name| adapter.modules.get_key_value(name)) {
            add_low_rank(&mut values, lora, adapter.config.scaling(module) as f32);
        }
        writer.write(&spec.name, &values)?;
    }
    progress(specs.len(), specs.len());
    Ok(())
}

/// Compares an adapter with the model's linear layers.
fn check(adapter: &Adapter, specs: &[crate::TensorSpec]) -> Result<()> {
    let mut problems = Vec::new();
    for (module, lora) in &adapter.modules {
        let found = vec![lora.out_features, lora.in_features];
        let spec = specs
            .iter()
            .find(|spec| spec.name.strip_suffix(".weight") == Some(module));
        let expected = match spec {
            Some(spec) if spec.shape == found => continue,
            Some(spec) => format!("{:?}", spec.shape),
            None => "no such module in the model".to_owned(),
        };
        problems.push(TensorProblem {
            name: module.clone(),
            expected,
            found: format!("an adapter for {found:?}"),
        });
    }
    if problems.is_empty() && !adapter.modules.is_empty() {
        Ok(())
    } else {
        Err(ModelError::Adapter(problems))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_product_by_hand() {
        let lora = LoraWeights {
            r: 2,
            in_features: 3,
            out_features: 2,
            a: vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0],
            b: vec![1.0, 0.0, 2.0, 0.5],
        };
        let mut weight = vec![1.0; 6];
        add_low_rank(&mut weight, &lora, 2.0);
        assert_eq!(weight, [3.0, 5.0, 7.0, 15.0, 29.0, 43.0]);
    }
}
