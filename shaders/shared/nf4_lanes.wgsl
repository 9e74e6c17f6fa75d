// The levels of 4-bit codes in the registers of a subgroup of 8: a shuffle looks eight of them up at once.

var<private> nf4_low: f32; // level `lane`
var<private> nf4_high: f32; // level `8 + lane`

fn nf4_lanes_begin(lane: u32) {
    nf4_low = nf4_tables.levels[lane / 4u][lane % 4u];
    nf4_high = nf4_tables.levels[2u + lane / 4u][lane % 4u];
}

fn nf4_level(code: u32) -> f32 {
    let index = code & 7u;
    return select(subgroupShuffle(nf4_low, index), subgroupShuffle(nf4_high, index), (code & 8u) != 0u);
}

// The values of four codes in the low half of a word as it lies in memory.
fn nf4_quad(half_word: u32) -> vec4<f32> {
    return vec4<f32>(
        nf4_level(half_word >> 4u),
        nf4_level(half_word),
        nf4_level(half_word >> 12u),
        nf4_level(half_word >> 8u),
    );
}
