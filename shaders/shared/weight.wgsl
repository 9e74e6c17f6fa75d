// A frozen weight W `[N, K]` in its storage format, read in quads: four neighbours of a row.

#if WEIGHT == f32
@group(0) @binding(2) var<storage, read> weight: array<vec4<f32>>; // [N, K]
#else
@group(0) @binding(2) var<storage, read> weight: array<vec4<u32>>; // [N, K], 2 (f16, bf16) or 8 (NF4) elements a word
#endif

#if WEIGHT == bf16
#import bf16
#elif WEIGHT == nf4 || WEIGHT == nf4_double
#import nf4
#endif

fn weight_begin(local: u32) {
#if WEIGHT == nf4 || WEIGHT == nf4_double
    nf4_begin(local);
#endif
}

#if ALIGNED == 1
// Four neighbours of a row of W, from a column that is a multiple of 4, as K and `weight_first` are. The row is within
// the window.
fn weight_quad(row: u32, column: u32) -> vec4<f32> {
    let element = row * params.columns + column;
    let at = params.weight_first + element;
#if WEIGHT == f32
    return weight[at / 4u];
#elif WEIGHT == f16
    let pair = (at / 4u) % 2u * 2u;
    return vec4<f32>(unpack2x16float(weight[at / 8u][pair]), unpack2x16float(weight[at / 8u][pair + 1u]));
#elif WEIGHT == bf16
    let pair = (at / 4u) % 2u * 2u;
    return vec4<f32>(bf16_pair(weight[at / 8u][pair]), bf16_pair(weight[at / 8u][pair + 1u]));
#else
    let word = weight[at / 32u][(at / 8u) % 4u];
    return nf4_values(word >> (4u * (at & 4u))) * nf4_absmax(element);
#endif
}
#else
// One element, counted from the window's first.
fn weight_element(element: u32) -> f32 {
    let at = params.weight_first + element;
#if WEIGHT == f32
    return weight[at / 4u][at % 4u];
#elif WEIGHT == f16
    return unpack2x16float(weight[at / 8u][(at / 2u) % 4u])[at % 2u];
#elif WEIGHT == bf16
    return bf16_pair(weight[at / 8u][(at / 2u) % 4u])[at % 2u];
#else
    let word = weight[at / 32u][(at / 8u) % 4u];
    let code = (word >> ((4u * (at % 8u)) ^ 4u)) & 15u;
    return nf4_levels[code] * nf4_absmax(element);
#endif
}

// Four neighbours of a row of W, from a column that is a multiple of 4; zeros past K. The row is within the window.
fn weight_quad(row: u32, column: u32) -> vec4<f32> {
    let element = row * params.columns + column;
    var quad = vec4<f32>();
    for (var j = 0u; j < min(params.columns - column, 4u); j++) {
        quad[j] = weight_element(element + j);
    }
    return quad;
}
#endif
