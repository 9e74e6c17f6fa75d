// Four-bit weights: NF4 or FP4 codes of the flattened matrix, the element with the even index in a byte's high half,
// and a scale for each block of elements (Dettmers et al., "QLoRA", arXiv 2305.14314).
//
//   w[e] = levels[code[e]] * absmax[e / block]
//   ABSMAX=double: absmax[b] = map[codes[b]] * nested[b / 256] + offset
//
// Before anything else every workgroup calls `nf4_begin`, and then a barrier.

struct Nf4Tables {
    levels: array<vec4<f32>, 4>, // [16]: the values of the codes
    map: array<vec4<f32>, 256>, // [256, 4]: the signed dynamic map, in x: a uniform's elements are vectors
}

#if WEIGHT == nf4_double
@group(0) @binding(3) var<storage, read> absmax_codes: array<u32>; // [blocks / 4]: four codes a word
@group(0) @binding(4) var<storage, read> absmax_nested: array<f32>; // [blocks / 256]
#else
@group(0) @binding(3) var<storage, read> absmax: array<f32>; // [blocks]
#endif
@group(0) @binding(9) var<uniform> nf4_tables: Nf4Tables;

var<workgroup> nf4_levels: array<f32, 16>;

fn nf4_begin(local: u32) {
    if local < 16u {
        nf4_levels[local] = nf4_tables.levels[local / 4u][local % 4u];
    }
}

// The scale of an element, counted from the window's first.
fn nf4_absmax(element: u32) -> f32 {
    let block = (params.element_first + element) >> params.block_shift;
    let index = block - params.absmax_first;
#if WEIGHT == nf4_double
    let code = (absmax_codes[index / 4u] >> (8u * (index % 4u))) & 0xFFu;
    let nested = absmax_nested[(block >> 8u) - params.nested_first];
    return nf4_tables.map[code].x * nested + params.absmax_offset;
#else
    return absmax[index];
#endif
}

// The values of four codes in the low half of a word as it lies in memory.
fn nf4_values(half_word: u32) -> vec4<f32> {
    return vec4<f32>(
        nf4_levels[(half_word >> 4u) & 15u],
        nf4_levels[half_word & 15u],
        nf4_levels[(half_word >> 12u) & 15u],
        nf4_levels[(half_word >> 8u) & 15u],
    );
}
