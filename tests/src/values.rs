use anylora_engine::DType;
use half::{bf16, f16};

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Values in -1..1 that depend on `seed` and the place only.
pub fn uniform(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed << 32;
    let mut next = || (split_mix(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
    (0..len).map(|_| next()).collect()
}

/// Integers below `below` that depend on `seed` and the place only.
pub fn uniform_integers(seed: u64, len: usize, below: u32) -> Vec<u32> {
    let mut state = seed << 32;
    let mut next = || (split_mix(&mut state) % u64::from(below)) as u32;
    (0..len).map(|_| next()).collect()
}

/// The bytes of these values in a float type, rounded to nearest even.
pub fn encode(dtype: DType, values: &[f32]) -> Vec<u8> {
    let words = values.iter();
    match dtype {
        DType::F32 => words.flat_map(|value| value.to_le_bytes()).collect(),
        DType::F16 => words
            .flat_map(|&value| f16::from_f32(value).to_le_bytes())
            .collect(),
        DType::BF16 => words
            .flat_map(|&value| bf16::from_f32(value).to_le_bytes())
            .collect(),
        DType::U32 | DType::I32 | DType::U8 => panic!("{dtype} is no float type"),
    }
}

/// The values of these bytes in a float type.
pub fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let halves = || bytes.chunks_exact(2).map(|half| [half[0], half[1]]);
    match dtype {
        DType::F32 => bytemuck::pod_collect_to_vec(bytes),
        DType::F16 => halves().map(|half| f16::from_le_bytes(half).to_f32()).collect(),
        DType::BF16 => halves().map(|half| bf16::from_le_bytes(half).to_f32()).collect(),
        DType::U32 | DType::I32 | DType::U8 => panic!("{dtype} is no float type"),
    }
}

/// The nearest values that a float type has.
pub fn rounded(dtype: DType, values: &[f32]) -> Vec<f32> {
    decode(dtype, &encode(dtype, values))
}
