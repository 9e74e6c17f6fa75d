// 16-bit floats from u32 words, on devices with and without 16-bit types: the even element is in the low half.

// bfloat16 is the upper half of an f32.
fn bf16_pair(word: u32) -> vec2<f32> {
    return vec2<f32>(bitcast<f32>(word << 16u), bitcast<f32>(word & 0xFFFF0000u));
}
