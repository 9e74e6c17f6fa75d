//! The quantization that config.json names.

use serde_json::Value;

use crate::{CheckpointError, Problem, Problems, Result};

/// Refuses a config whose weights are quantized by another method.
pub(crate) fn check_method(quantization: Option<&Value>) -> Result<()> {
    let Some(quantization) = quantization.filter(|value| !value.is_null()) else {
        return Ok(());
    };
    let method = quantization.get("quant_method").and_then(Value::as_str);
    let is_8bit = quantization.get("load_in_8bit").and_then(Value::as_bool) == Some(true);
    let found = match (method, is_8bit) {
        // The field came with bitsandbytes and is missing in the oldest of its checkpoints.
        (Some("bitsandbytes") | None, false) => return Ok(()),
        (Some("bitsandbytes") | None, true) => "bitsandbytes in 8 bits".to_string(),
        (Some(other), _) => format!("{other:?}"),
    };
    let problem = Problem::new(
        "config.json",
        "`quantization_config.quant_method`",
        "bitsandbytes in 4 bits (nf4, fp4), or no quantization",
        found,
    );
    Err(CheckpointError::Unsupported {
        problems: Problems(vec![problem]),
        hint: "take the model that it was made from, in 16 bits, and add `--quant nf4`".into(),
    })
}
