//! The rotary embedding's parameters, in both forms that config files have.
//!
//! transformers 5 writes one object, `rope_parameters: {rope_theta, rope_type, factor, ...}`; earlier versions write
//! `rope_theta` beside `rope_scaling: null | {rope_type or type, factor, ...}`. Source of the names and defaults:
//! transformers `modeling_rope_utils.py`.

use serde_json::Map;

use crate::fields::Fields;

/// Rotary position embedding (Su et al., "RoFormer", arXiv 2104.09864).
#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    /// The base of the frequencies, `theta^(-2i / head_dim)`.
    pub theta: f64,
    /// How the frequencies are changed for longer texts.
    pub scaling: RopeScaling,
    /// The part of each head that is rotated; 1 in the families that this program builds.
    pub partial_rotary_factor: f64,
}

/// How the frequencies are changed for texts longer than those of the first training.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Positions divided by a factor.
    Linear {
        /// The factor.
        factor: f64,
    },
    /// NTK-aware scaling that grows with the text.
    Dynamic {
        /// The factor.
        factor: f64,
        /// Texts up to this length are not scaled.
        original_max_position_embeddings: usize,
    },
    /// Llama 3.1's: low frequencies divided by the factor, high ones kept, those between blended.
    Llama3 {
        /// The factor.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are scaled in full.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// The length of the first training.
        original_max_position_embeddings: usize,
    },
    /// YaRN (Peng et al., arXiv 2309.00071).
    Yarn {
        /// The factor.
        factor: f64,
        /// The length of the first training.
        original_max_position_embeddings: usize,
        /// What cos and sin are multiplied with; derived from the factor where the file has none.
        attention_factor: Option<f64>,
        /// Rotations above which a frequency is kept.
        beta_fast: f64,
        /// Rotations below which a frequency is scaled in full.
        beta_slow: f64,
        /// With `mscale_all_dim`, another way to derive the attention factor.
        mscale: Option<f64>,
        /// See `mscale`.
        mscale_all_dim: Option<f64>,
        /// Whether the ends of the blended range are rounded to whole dimensions.
        truncate: bool,
    },
}

const KINDS: &str = "one of \"default\", \"linear\", \"dynamic\", \"llama3\" and \"yarn\"";

/// Reads either form; what is wrong goes to the fields' problems.
pub(super) fn read(fields: &mut Fields<'_>, file: &str, max_position_embeddings: usize) -> RopeConfig {
    let empty = Map::new();
    let (prefix, object) = if let Some(object) = fields.object("rope_parameters") {
        ("rope_parameters.", object)
    } else if let Some(object) = fields.object("rope_scaling") {
        ("rope_scaling.", object)
    } else {
        ("", &empty)
    };
    let outer_theta = fields.number("rope_theta");
    let outer_partial = fields.number("partial_rotary_factor");
    let outer_original = fields.size("original_max_position_embeddings");
    let mut inner = Fields::new(file, prefix, object);
    let f = &mut inner;
    let kind_field = if f.get("rope_type").is_some() {
        "rope_type"
    } else {
        "type"
    };
    let kind = f.text(kind_field).unwrap_or("default");
    let original = f
        .size("original_max_position_embeddings")
        .or(outer_original)
        .unwrap_or(max_position_embeddings);
    let scaling = match kind {
        "default" => RopeScaling::Default,
        "linear" => RopeScaling::Linear {
            factor: required(f, "factor", 1.0),
        },
        "dynamic" => RopeScaling::Dynamic {
            factor: required(f, "factor", 1.0),
            original_max_position_embeddings: original,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: required(f, "factor", 1.0),
            low_freq_factor: required(f, "low_freq_factor", 1.0),
            high_freq_factor: required(f, "high_freq_factor", 1.0),
            original_max_position_embeddings: original,
        },
        "yarn" => RopeScaling::Yarn {
            factor: match f.get("factor") {
                Some(_) => required(f, "factor", 1.0),
                None => max_position_embeddings as f64 / original as f64,
            },
            original_max_position_embeddings: original,
            attention_factor: f.number("attention_factor"),
            beta_fast: f.number("beta_fast").unwrap_or(32.0),
            beta_slow: f.number("beta_slow").unwrap_or(1.0),
            mscale: f.number("mscale"),
            mscale_all_dim: f.number("mscale_all_dim"),
            truncate: f.boolean("truncate").unwrap_or(true),
        },
        other => {
            f.problem(kind_field, KINDS, format!("{other:?}"));
            RopeScaling::Default
        }
    };
    let inner_theta = f.number("rope_theta");
    let theta = inner_theta.or(outer_theta).unwrap_or(10_000.0);
    if !(theta.is_finite() && theta > 0.0) {
        let (expected, found) = ("a number above 0", theta.to_string());
        match inner_theta {
            Some(_) => f.problem("rope_theta", expected, found),
            None => fields.problem("rope_theta", expected, found),
        }
    }
    let partial_rotary_factor = f.number("partial_rotary_factor").or(outer_partial).unwrap_or(1.0);
    fields.problems.0.append(&mut inner.problems.0);
    RopeConfig {
        theta,
        scaling,
        partial_rotary_factor,
    }
}

/// A number above 0 that must be there.
fn required(f: &mut Fields<'_>, name: &str, otherwise: f64) -> f64 {
    match f.number(name) {
        Some(number) if number > 0.0 && number.is_finite() => number,
        Some(number) => {
            f.problem(name, "a number above 0", number.to_string());
            otherwise
        }
        None => {
            // A value of the wrong kind is already reported.
            if f.get(name).is_none() {
                f.problem(name, "a number above 0", "nothing");
            }
            otherwise
        }
    }
}
