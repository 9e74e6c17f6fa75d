// What attention's kernels share about which queries see which keys, and where they are.
struct Params {
    batch: u32,
    time: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
    vectors: u32, // of 4 elements, in a head
    first: u32, // the first sequence's place in segments, lse and delta
    causal: u32,
    window: u32, // at most time
    segmented: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> segments: array<u32>; // [.., T]

// Rows, and columns, of a tile.
const TILE = 32u;

// Of this workgroup.
var<private> sequence: u32;
var<private> head: u32;
var<private> kv_head: u32;

// A query's place in [B, T, Hq].
fn query_row(query: u32) -> u32 {
    return (sequence * params.time + query) * params.heads + head;
}

// A key's place in [B, T, Hkv].
fn key_row(key: u32) -> u32 {
    return (sequence * params.time + key) * params.kv_heads + kv_head;
}

// A token's place in segments and, times Hq, in lse and delta; that of the last one for those past it.
fn token_row(token: u32) -> u32 {
    return (params.first + sequence) * params.time + min(token, params.time - 1u);
}

fn segments_of(tokens: vec4<u32>) -> vec4<u32> {
    if params.segmented == 0u {
        return vec4<u32>();
    }
    return vec4<u32>(
        segments[token_row(tokens.x)],
        segments[token_row(tokens.y)],
        segments[token_row(tokens.z)],
        segments[token_row(tokens.w)],
    );
}

// The least and the greatest segment of a tile. The argument, not the variable: uniform where its caller's is.
fn segment_span(of_sequence: u32, first: u32) -> vec2<u32> {
    var span = vec2<u32>(0xffffffffu, 0u);
    if params.segmented != 0u {
        let start = (params.first + of_sequence) * params.time;
        for (var i = first; i < min(first + TILE, params.time); i++) {
            let id = segments[start + i];
            span = vec2<u32>(min(span.x, id), max(span.y, id));
        }
    }
    return span;
}

// Whether no token of one tile can see any of the other.
fn apart(a: vec2<u32>, b: vec2<u32>) -> bool {
    return params.segmented != 0u && (a.y < b.x || b.y < a.x);
}

// Which of the pairs the mask allows, by place and segment.
fn visible(queries: vec4<u32>, keys: vec4<u32>, of_queries: vec4<u32>, of_keys: vec4<u32>) -> vec4<bool> {
    let behind = max(queries, keys) - min(queries, keys);
    let time = vec4<u32>(params.time);
    let near = (behind < vec4<u32>(params.window)) & (queries < time) & (keys < time);
    return near & ((keys <= queries) | vec4<bool>(params.causal == 0u)) & (of_queries == of_keys);
}
