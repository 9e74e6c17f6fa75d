//! `tiny-llama-bnb-nf4`, which transformers and bitsandbytes made, against tiny-llama quantized here.

mod files;

use anylora_checkpoint::{Checkpoint, TensorFormat, Values};
use anylora_quant::{Absmax, BlockSize, Codebook, quantize};
use files::{edit_json, rename, tiny, tiny_files};

#[test]
fn equals_tiny_llama_quantized_here_bit_for_bit() {
    let ours = Checkpoint::open(&tiny("tiny-llama")).unwrap();
    let theirs = Checkpoint::open(&tiny("tiny-llama-bnb-nf4")).unwrap();
    assert!(
        ours.names().eq(theirs.names()),
        "the parts are folded into their weights"
    );
    let mut weights = 0;
    for name in ours.names() {
        let (dense, stored) = (ours.read(name).unwrap(), theirs.read(name).unwrap());
        assert_eq!(dense.shape, stored.shape, "{name}");
        let is_linear = name.ends_with("_proj.weight");
        match &stored.values {
            Values::Quantized4(stored) => {
                assert!(is_linear, "{name}");
                let quantized = quantize(&dense.to_f32(), Codebook::Nf4, BlockSize::default()).unwrap();
                let quantized = quantized.double_quantize().unwrap();
                assert_eq!(*stored, quantized, "{name}");
                assert!(matches!(stored.absmax, Absmax::Double(_)));
                weights += 1;
            }
            _ => assert!(!is_linear && dense == stored, "{name}"),
        }
    }
    assert_eq!(weights, 14);
    let info = theirs.info("model.layers.0.mlp.down_proj.weight").unwrap();
    assert_eq!(info.format.to_string(), "NF4 (blocks of 64, double quantization)");
    // 128 x 320: codes, one byte a block, three nested absmax.
    assert_eq!(info.bytes, 128 * 320 / 2 + 640 + 3 * 4);
}

#[test]
fn single_quantization_and_fp4_and_another_container() {
    let name = "model.layers.0.mlp.up_proj.weight";
    let values: Vec<f32> = (0..352).map(|i| (i as f32 * 0.7).sin()).collect();
    let quantized = quantize(&values, Codebook::Fp4, BlockSize::new(32).unwrap()).unwrap();
    let absmax: Vec<u8> = quantized
        .absmax_f32()
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let map: Vec<u8> = Codebook::Fp4
        .levels()
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let state = br#"{"quant_type": "fp4", "blocksize": 32, "dtype": "bfloat16", "shape": [11, 32]}"#;
    let weights = files::safetensors(&[
        (name, "BF16", &[88, 1], &quantized.packed),
        (&format!("{name}.absmax"), "F32", &[11], &absmax),
        (&format!("{name}.quant_map"), "F32", &[16], &map),
        (
            &format!("{name}.quant_state.bitsandbytes__fp4"),
            "U8",
            &[state.len()],
            state,
        ),
    ]);
    let mut files = tiny_files("tiny-llama");
    files.insert("model.safetensors".into(), weights.into());
    let checkpoint = Checkpoint::from_files(files).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), [name]);
    let tensor = checkpoint.read(name).unwrap();
    assert_eq!(
        (tensor.shape.as_slice(), &tensor.values),
        (&[11, 32][..], &Values::Quantized4(quantized))
    );
    assert!(matches!(
        checkpoint.info(name).unwrap().format,
        TensorFormat::Quantized4 { double: false, .. }
    ));
}

#[test]
fn another_nested_map_comes_as_f32_absmax() {
    let name = "model.layers.0.self_attn.k_proj.weight";
    let mut files = tiny_files("tiny-llama-bnb-nf4");
    let original = Checkpoint::from_files(files.clone()).unwrap();
    files::edit_tensor(&mut files, &format!("{name}.nested_quant_map"), |bytes| {
        bytes[255 * 4..].copy_from_slice(&2.0f32.to_le_bytes());
    });
    let edited = Checkpoint::from_files(files).unwrap();
    let (Values::Quantized4(a), Values::Quantized4(b)) = (
        original.read(name).unwrap().values,
        edited.read(name).unwrap().values,
    ) else {
        panic!("4-bit weights expected");
    };
    let Absmax::Double(double) = &a.absmax else {
        panic!("double quantization expected")
    };
    let (a, b) = (a.absmax_f32().into_owned(), b.absmax_f32().into_owned());
    for (code, (a, b)) in double.codes.iter().zip(a.iter().zip(&b)) {
        assert_eq!(a == b, *code != 255, "only level 255 was changed");
    }
    assert!(double.codes.contains(&255), "the largest absmax has code 255");
}

#[test]
fn every_weight_with_bad_parts_is_listed() {
    let mut files = tiny_files("tiny-llama-bnb-nf4");
    let layer = "model.layers.0.mlp";
    let state = format!("{layer}.up_proj.weight.quant_state.bitsandbytes__nf4");
    edit_json(&mut files, &state, r#""blocksize": 64"#, r#""blocksize": 63"#);
    let state = format!("{layer}.gate_proj.weight.quant_state.bitsandbytes__nf4");
    edit_json(
        &mut files,
        &state,
        r#""shape": [320, 128]"#,
        r#""shape": [320, 999]"#,
    );
    rename(
        &mut files,
        &format!("{layer}.down_proj.weight.absmax"),
        &format!("{layer}.down_proj.weight.abs_ax"),
    );
    let error = Checkpoint::from_files(files).unwrap_err().to_string();
    for part in [
        "`blocksize`: expected a power of two from 32 to 4096, found 63",
        "tensor `model.layers.0.mlp.gate_proj.weight`: expected 159840 bytes, as the quant_state has it, found U8 [20480, 1]",
        "tensor `model.layers.0.mlp.down_proj.weight.absmax`: expected U8 [640], found no such tensor",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

#[test]
fn other_methods_are_refused() {
    for (from, to, found) in [
        (r#""bitsandbytes""#, r#""gptq""#, "\"gptq\""),
        (r#""load_in_8bit": false"#, r#""load_in_8bit": true"#, "8 bits"),
    ] {
        let mut files = tiny_files("tiny-llama-bnb-nf4");
        files::edit_text(&mut files, "config.json", from, to);
        let error = Checkpoint::from_files(files).unwrap_err();
        assert!(error.to_string().contains(found), "{error}");
    }
}
