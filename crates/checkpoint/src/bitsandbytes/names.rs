//! The names of a weight's parts.

pub(super) const STATE: &str = ".quant_state.bitsandbytes__";

/// The parts beside codes and state.
pub(super) const PARTS: [(&str, QuantPart); 4] = [
    (".nested_absmax", QuantPart::NestedAbsmax),
    (".nested_quant_map", QuantPart::NestedQuantMap),
    (".absmax", QuantPart::Absmax),
    (".quant_map", QuantPart::QuantMap),
];

/// What a tensor is to a 4-bit weight; the codes have the weight's own name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuantPart {
    /// The JSON that describes the weight, U8.
    State,
    /// The codebook, F32 `[16]`.
    QuantMap,
    /// One a block: F32, or U8 where nested.
    Absmax,
    /// One a nested block, F32.
    NestedAbsmax,
    /// The levels of the U8 absmax, F32 `[256]`.
    NestedQuantMap,
}

impl QuantPart {
    /// The weight and the part that a tensor's name means; nothing for names of other tensors.
    pub fn parse(name: &str) -> Option<(&str, Self)> {
        if let Some((weight, _)) = name.split_once(STATE) {
            return Some((weight, Self::State));
        }
        PARTS
            .into_iter()
            .find_map(|(suffix, part)| Some((name.strip_suffix(suffix)?, part)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_weight_and_part() {
        let weight = "model.layers.0.mlp.up_proj.weight";
        for (suffix, part) in [
            (".quant_state.bitsandbytes__nf4", QuantPart::State),
            (".quant_map", QuantPart::QuantMap),
            (".absmax", QuantPart::Absmax),
            (".nested_absmax", QuantPart::NestedAbsmax),
            (".nested_quant_map", QuantPart::NestedQuantMap),
        ] {
            assert_eq!(
                QuantPart::parse(&format!("{weight}{suffix}")),
                Some((weight, part))
            );
        }
        assert_eq!(QuantPart::parse(weight), None);
    }
}
