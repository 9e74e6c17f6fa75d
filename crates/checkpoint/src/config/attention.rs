//! Which layers attend to a window only.

use serde_json::Value;

use crate::fields::{Fields, kind};

/// The window of each layer, by the rules of the families' config classes in transformers
/// (`configuration_mistral.py`, `configuration_qwen2.py`, `configuration_qwen3.py`):
///
/// - mistral: every layer has `sliding_window`, 4096 where the field is missing and none where it is null;
/// - qwen2, qwen3: none unless `use_sliding_window`; then `layer_types` says which, and without it the layers
///   from `max_window_layers` on;
/// - other families: `layer_types` says which; without it none.
pub(super) fn sliding_windows(f: &mut Fields<'_>, model_type: &str, layers: usize) -> Vec<Option<usize>> {
    let written = f.is_written("sliding_window");
    let mut window = f.size("sliding_window");
    let is_qwen = matches!(model_type, "qwen2" | "qwen3");
    let use_sliding_window = f.boolean("use_sliding_window").unwrap_or(!is_qwen);
    if !written && (model_type == "mistral" || is_qwen) {
        window = Some(4096);
    }
    if !use_sliding_window {
        window = None;
    }
    let first = match f.get("max_window_layers").map(|value| (value, value.as_u64())) {
        Some((_, Some(first))) => usize::try_from(first).unwrap_or(usize::MAX),
        Some((value, None)) => {
            f.problem("max_window_layers", "a whole number", kind(value));
            0
        }
        None if is_qwen => 28,
        None => 0,
    };
    if let Some(types) = f.get("layer_types") {
        return from_layer_types(f, types, window, layers);
    }
    (0..layers)
        .map(|layer| match model_type {
            "mistral" => window,
            _ if is_qwen && layer >= first => window,
            _ => None,
        })
        .collect()
}

fn from_layer_types(
    f: &mut Fields<'_>,
    types: &Value,
    window: Option<usize>,
    layers: usize,
) -> Vec<Option<usize>> {
    let expected = format!("{layers} of \"full_attention\" and \"sliding_attention\", one a layer");
    let windows = types
        .as_array()
        .filter(|types| types.len() == layers)
        .map(|types| {
            let windows = types.iter().map(|kind| match kind.as_str() {
                Some("full_attention") => Some(None),
                Some("sliding_attention") => Some(window),
                _ => None,
            });
            windows.collect::<Option<Vec<_>>>()
        });
    match windows {
        Some(Some(windows)) => windows,
        _ => {
            let found = match types.as_array() {
                Some(types) if types.len() == layers => "another kind".into(),
                _ => kind(types),
            };
            f.problem("layer_types", expected, found);
            vec![None; layers]
        }
    }
}
