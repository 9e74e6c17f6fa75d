//! From llama.cpp's tensor names to those of transformers, and back.

/// The parts of a block: llama.cpp's name, transformers' name.
const BLOCK: [(&str, &str); 11] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// What is outside of the blocks.
const OUTER: [(&str, &str); 3] = [
    ("token_embd", "model.embed_tokens"),
    ("output_norm", "model.norm"),
    ("output", "lm_head"),
];

/// transformers' name of a tensor; `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`. Nothing for a
/// tensor that the llama and qwen families do not have.
pub(super) fn to_hugging_face(name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.')?;
    if let Some((_, outer)) = OUTER.iter().find(|(gguf, _)| *gguf == module) {
        return Some(format!("{outer}.{kind}"));
    }
    let (layer, part) = module.strip_prefix("blk.")?.split_once('.')?;
    let (_, part) = BLOCK.iter().find(|(gguf, _)| *gguf == part)?;
    Some(format!("model.layers.{layer}.{part}.{kind}"))
}

/// llama.cpp's name of a module; `model.layers.3.self_attn.q_proj` is `blk.3.attn_q`.
pub(crate) fn to_gguf(module: &str) -> Option<String> {
    if let Some((outer, _)) = OUTER.iter().find(|(_, hugging_face)| *hugging_face == module) {
        return Some((*outer).into());
    }
    let (layer, part) = module.strip_prefix("model.layers.")?.split_once('.')?;
    let (part, _) = BLOCK.iter().find(|(_, hugging_face)| *hugging_face == part)?;
    Some(format!("blk.{layer}.{part}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for module in [
            "model.layers.17.self_attn.q_proj",
            "model.layers.0.mlp.down_proj",
            "lm_head",
        ] {
            let gguf = to_gguf(module).unwrap();
            assert_eq!(
                to_hugging_face(&format!("{gguf}.bias")),
                Some(format!("{module}.bias"))
            );
        }
        assert_eq!(
            to_gguf("model.layers.0.self_attn.q_proj"),
            Some("blk.0.attn_q".into())
        );
        assert_eq!(to_hugging_face("blk.0.attn_qkv.weight"), None);
        assert_eq!(to_gguf("model.layers.0.mlp.experts"), None);
    }
}
