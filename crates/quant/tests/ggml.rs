//! Bit for bit against what gguf-py dequantized: `tests/fixtures/gguf/README.md`.

use anylora_quant::GgmlFormat;
use safetensors::SafeTensors;

#[test]
fn every_format_equals_gguf_py_bit_for_bit() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/gguf/blocks.safetensors"
    );
    let bytes = std::fs::read(path).unwrap();
    let goldens = SafeTensors::deserialize(&bytes).unwrap();
    for format in GgmlFormat::all() {
        let name = format.name();
        let packed = goldens.tensor(&format!("{name}.packed")).unwrap();
        let dequantized = goldens.tensor(&format!("{name}.dequantized")).unwrap();
        assert_eq!(format.bytes_of(4 * 512), Some(packed.data().len()), "{name}");
        // Many copies, so that several threads work.
        let blocks = packed.data().repeat(100);
        let mut values = vec![f32::NAN; 4 * 512 * 100];
        format.dequantize(&blocks, &mut values).unwrap();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        for copy in bytes.chunks(dequantized.data().len()) {
            assert!(copy == dequantized.data(), "{name}");
        }
    }
}
