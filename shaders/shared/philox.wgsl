// Counter-based inverted dropout, bit for bit as crates/engine/src/dropout.rs: Philox4x32-10 (Salmon et al., "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011). The mask is a function of seed, step, layer and element, so it is
// never stored: whoever needs an element's factor computes it again.
//
// The kernel's uniform `params` has these members:
//   dropout_key: vec2<u32>     the seed's low and high word
//   dropout_step: u32
//   dropout_layer: u32
//   dropout_threshold: u32     an element is dropped when its random word is below this
//   dropout_keep: f32          the factor of kept elements, 1 / (1 - p)
// Rows are those of the whole matrix: a kernel that works on a window of rows adds the window's start.

// The high word of a * b, from products of 16-bit halves: WGSL has no 64-bit product. No sum below overflows.
fn philox_high(a: u32, b: u32) -> u32 {
    let a_low = a & 0xFFFFu;
    let a_high = a >> 16u;
    let b_low = b & 0xFFFFu;
    let b_high = b >> 16u;
    let middle = a_high * b_low + ((a_low * b_low) >> 16u);
    let carry = a_low * b_high + (middle & 0xFFFFu);
    return a_high * b_high + (middle >> 16u) + (carry >> 16u);
}

// Four random words from a counter and a key.
fn philox4x32(start: vec4<u32>, start_key: vec2<u32>) -> vec4<u32> {
    var counter = start;
    var key = start_key;
    for (var round = 0u; round < 10u; round++) {
        counter = vec4<u32>(
            philox_high(0xCD9E8D57u, counter.z) ^ counter.y ^ key.x,
            0xCD9E8D57u * counter.z,
            philox_high(0xD2511F53u, counter.x) ^ counter.w ^ key.y,
            0xD2511F53u * counter.x,
        );
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}

// The factors of columns `4 * quad .. 4 * quad + 4` of a row: 0 or `dropout_keep`.
fn dropout_factors(row: u32, quad: u32) -> vec4<f32> {
    let counter = vec4<u32>(row, quad, params.dropout_step, params.dropout_layer);
    let dropped = philox4x32(counter, params.dropout_key) < vec4<u32>(params.dropout_threshold);
    return select(vec4<f32>(params.dropout_keep), vec4<f32>(), dropped);
}

// The factor of one element. Four neighbours cost as much: see `dropout_factors`.
fn dropout_factor(row: u32, column: u32) -> f32 {
    return dropout_factors(row, column / 4u)[column % 4u];
}
