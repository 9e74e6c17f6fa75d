// Attention (Dao, "FlashAttention-2", arXiv 2307.08691): for each query, over the keys that it sees,
//   s = scale * q k^T,  out = softmax(s) v,  lse = log(sum(exp(s))).
// Query head h reads key-value head h / (Hq / Hkv). No T x T buffer: the maximum and the sum run along.
//
// A workgroup computes 32 queries of one head of one sequence, walking over tiles of 32 keys; tiles that causality,
// the window or segments hide entirely are left out. Powers are of 2, with log2(e) in the scale.
#if ACT == f16
enable f16;
#endif
#import grid
#import attention_tile

@group(0) @binding(2) var<storage, read> q: array<Element>; // [B, T, Hq, D]
@group(0) @binding(3) var<storage, read> k: array<Element>; // [B, T, Hkv, D]
@group(0) @binding(4) var<storage, read> v: array<Element>; // [B, T, Hkv, D]
@group(0) @binding(5) var<storage, read_write> out: array<Element>; // [B, T, Hq, D]
@group(0) @binding(6) var<storage, read_write> lse: array<f32>; // [.., T, Hq]

// Scores of hidden keys; finite, so that differences are.
const HIDDEN = -3.0e38;

// A share of each row, by lane.
var<workgroup> shares: array<f32, TILE * LANES>;

fn row_value(which: u32, query: u32, d: u32) -> vec4<f32> {
    if query >= params.time || d >= params.vectors {
        return vec4<f32>();
    }
#if WIDTH == 4
    return vec4<f32>(q[query_row(query) * params.vectors + d]);
#else
    let at = elements(query_row(query), d);
    let x = vec4<f32>(f32(q[at.x]), f32(q[at.y]), f32(q[at.z]), f32(q[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

fn column_value(which: u32, key: u32, d: u32) -> vec4<f32> {
    if key >= params.time || d >= params.vectors {
        return vec4<f32>();
    }
#if WIDTH == 4
    return vec4<f32>(k[key_row(key) * params.vectors + d]);
#else
    let at = elements(key_row(key), d);
    let x = vec4<f32>(f32(k[at.x]), f32(k[at.y]), f32(k[at.z]), f32(k[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

fn source_value(key: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(v[key_row(key) * params.vectors + d]);
#else
    let at = elements(key_row(key), d);
    return vec4<f32>(f32(v[at.x]), f32(v[at.y]), f32(v[at.z]), f32(v[at.w]));
#endif
}

fn store(query: u32, d: u32, value: vec4<f32>) {
#if WIDTH == 4
    out[query_row(query) * params.vectors + d] = Element(value);
#else
    let start = query_row(query) * params.dim;
    for (var i = 0u; i < 4u; i++) {
        if 4u * d + i < params.dim {
            out[start + 4u * d + i] = Element(value[i]);
        }
    }
#endif
}

@compute @workgroup_size(THREADS)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(group, groups);
    let of_all = params.batch * params.heads;
    let tiles = (params.time + TILE - 1u) / TILE;
    if index >= tiles * of_all {
        return;
    }
    let of_sequence = index % of_all / params.heads;
    sequence = of_sequence;
    head = index % params.heads;
    kv_head = head / (params.heads / params.kv_heads);
    // Under causality the last queries see the most keys: their workgroups start first.
    let first_query = (tiles - 1u - index / of_all) * TILE;
    let last_query = min(first_query + TILE, params.time) - 1u;
    let begin = max(first_query + 1u, params.window) - params.window;
    let reach = select(params.window - 1u, 0u, params.causal != 0u);
    let end = min(params.time, last_query + 1u + reach);

    let query_span = segment_span(of_sequence, first_query);
    let lane = lane_of(local);
    var most: array<f32, ROWS>;
    var sums: array<f32, ROWS>;
    var result: array<vec4<f32>, ROWS * VECTORS>;
    for (var i = 0u; i < ROWS; i++) {
        most[i] = HIDDEN;
    }
    for (var first_key = begin / TILE * TILE; first_key < end; first_key += TILE) {
        if apart(query_span, segment_span(of_sequence, first_key)) {
            continue;
        }
        var scores = array<vec4<f32>, ROWS>();
        product(0u, first_query, first_key, local, &scores);
        let keys = vec4<u32>(first_key + 4u * lane.x) + vec4<u32>(0u, 1u, 2u, 3u);
        let key_segments = segments_of(keys);
        for (var i = 0u; i < ROWS; i++) {
            let row = lane.y + i * ROW_LANES;
            let queries = vec4<u32>(first_query + row);
            let shown = visible(queries, keys, segments_of(queries), key_segments);
            let s = select(vec4<f32>(HIDDEN), scores[i] * (params.scale * LOG2_E), shown);
            scores[i] = s;
            shares[row * LANES + lane.x] = max(max(s.x, s.y), max(s.z, s.w));
        }
        workgroupBarrier();
        for (var i = 0u; i < ROWS; i++) {
            let row = lane.y + i * ROW_LANES;
            var highest = most[i];
            for (var j = 0u; j < LANES; j++) {
                highest = max(highest, shares[row * LANES + j]);
            }
            let shrink = exp2(most[i] - highest);
            most[i] = highest;
            // A row without any visible key so far has the maximum HIDDEN.
            let hidden = scores[i] == vec4<f32>(HIDDEN);
            let weights = select(exp2(scores[i] - highest), vec4<f32>(), hidden);
            sums[i] = sums[i] * shrink + (weights.x + weights.y + weights.z + weights.w);
            put_weights(row, lane.x, weights);
            for (var j = 0u; j < VECTORS; j++) {
                result[i * VECTORS + j] *= shrink;
            }
        }
        workgroupBarrier();
        accumulate(first_key, local, &result);
    }

    for (var i = 0u; i < ROWS; i++) {
        shares[(lane.y + i * ROW_LANES) * LANES + lane.x] = sums[i];
    }
    workgroupBarrier();
    for (var i = 0u; i < ROWS; i++) {
        let row = lane.y + i * ROW_LANES;
        let query = first_query + row;
        var sum = 0.0;
        for (var j = 0u; j < LANES; j++) {
            sum += shares[row * LANES + j];
        }
        if query < params.time {
            for (var j = 0u; j < VECTORS; j++) {
                let d = lane.x + j * LANES;
                if d < params.vectors {
                    store(query, d, result[i * VECTORS + j] / sum);
                }
            }
            if lane.x == 0u {
                lse[token_row(query) * params.heads + head] = (most[i] + log2(sum)) / LOG2_E;
            }
        }
    }
}
