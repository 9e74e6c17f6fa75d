// The gradients of attention.wgsl, one a variant. With p = exp(s - lse), dp = dout v^T and delta = sum(dout * out),
// recomputed tile by tile,
//   ds = p * (dp - delta),  dq = scale * ds k,  dk = scale * ds^T q,  dv = p^T dout.
//
// For dq a workgroup has 32 queries of one head and walks over the tiles of keys. For dk and dv it has 32 keys of one
// key-value head and walks over the query heads that read it, in order, and their tiles of queries: nothing is added
// up by two workgroups. dk and dv are passes of their own, for which eight storage buffers are enough.
#if ACT == f16
enable f16;
#endif
#import grid
#import attention_tile

@group(0) @binding(2) var<storage, read> q: array<Element>; // [B, T, Hq, D]
@group(0) @binding(3) var<storage, read> k: array<Element>; // [B, T, Hkv, D]
@group(0) @binding(4) var<storage, read> dout: array<Element>; // [B, T, Hq, D]
@group(0) @binding(5) var<storage, read> lse: array<f32>; // [.., T, Hq]
@group(0) @binding(6) var<storage, read_write> grad: array<Element>; // as q, k or v
#if GRAD != dv
@group(0) @binding(7) var<storage, read> v: array<Element>; // [B, T, Hkv, D]
@group(0) @binding(8) var<storage, read> delta: array<f32>; // [.., T, Hq]
#endif

fn q_value(query: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(q[query_row(query) * params.vectors + d]);
#else
    let at = elements(query_row(query), d);
    let x = vec4<f32>(f32(q[at.x]), f32(q[at.y]), f32(q[at.z]), f32(q[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

fn k_value(key: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(k[key_row(key) * params.vectors + d]);
#else
    let at = elements(key_row(key), d);
    let x = vec4<f32>(f32(k[at.x]), f32(k[at.y]), f32(k[at.z]), f32(k[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

fn dout_value(query: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(dout[query_row(query) * params.vectors + d]);
#else
    let at = elements(query_row(query), d);
    let x = vec4<f32>(f32(dout[at.x]), f32(dout[at.y]), f32(dout[at.z]), f32(dout[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

#if GRAD != dv
fn v_value(key: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(v[key_row(key) * params.vectors + d]);
#else
    let at = elements(key_row(key), d);
    let x = vec4<f32>(f32(v[at.x]), f32(v[at.y]), f32(v[at.z]), f32(v[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}
#endif

// The product 0 is of q and k, the product 1 of dout and v.
fn of_query(which: u32, query: u32, d: u32) -> vec4<f32> {
    if query >= params.time || d >= params.vectors {
        return vec4<f32>();
    }
    if which == 0u {
        return q_value(query, d);
    }
    return dout_value(query, d);
}

fn of_key(which: u32, key: u32, d: u32) -> vec4<f32> {
    if key >= params.time || d >= params.vectors {
        return vec4<f32>();
    }
#if GRAD != dv
    if which == 1u {
        return v_value(key, d);
    }
#endif
    return k_value(key, d);
}

#if GRAD == dq
fn row_value(which: u32, row: u32, d: u32) -> vec4<f32> {
    return of_query(which, row, d);
}

fn column_value(which: u32, column: u32, d: u32) -> vec4<f32> {
    return of_key(which, column, d);
}

fn source_value(column: u32, d: u32) -> vec4<f32> {
    return k_value(column, d);
}
#else
fn row_value(which: u32, row: u32, d: u32) -> vec4<f32> {
    return of_key(which, row, d);
}

fn column_value(which: u32, column: u32, d: u32) -> vec4<f32> {
    return of_query(which, column, d);
}

fn source_value(column: u32, d: u32) -> vec4<f32> {
#if GRAD == dk
    return q_value(column, d);
#else
    return dout_value(column, d);
#endif
}
#endif

// The row's place in grad, in heads.
fn grad_row(row: u32) -> u32 {
#if GRAD == dq
    return query_row(row);
#else
    return key_row(row);
#endif
}

fn store(row: u32, d: u32, value: vec4<f32>) {
#if WIDTH == 4
    grad[grad_row(row) * params.vectors + d] = Element(value);
#else
    let start = grad_row(row) * params.dim;
    for (var i = 0u; i < 4u; i++) {
        if 4u * d + i < params.dim {
            grad[start + 4u * d + i] = Element(value[i]);
        }
    }
#endif
}

fn lse_of(query: u32) -> f32 {
    return lse[token_row(query) * params.heads + head] * LOG2_E;
}

#if GRAD != dv
fn delta_of(query: u32) -> f32 {
    return delta[token_row(query) * params.heads + head];
}
#endif

@compute @workgroup_size(THREADS)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(group, groups);
#if GRAD == dq
    let row_heads = params.heads;
#else
    let row_heads = params.kv_heads;
#endif
    let of_all = params.batch * row_heads;
    let tiles = (params.time + TILE - 1u) / TILE;
    if index >= tiles * of_all {
        return;
    }
    let of_sequence = index % of_all / row_heads;
    sequence = of_sequence;
    let shared_by = params.heads / params.kv_heads;
    // The workgroups with the most to do under causality start first.
#if GRAD == dq
    let first_row = (tiles - 1u - index / of_all) * TILE;
    let sees_back = params.window - 1u;
    let sees_on = select(params.window - 1u, 0u, params.causal != 0u);
    let first_head = index % row_heads;
    let heads_end = first_head + 1u;
#else
    let first_row = index / of_all * TILE;
    let sees_back = select(params.window - 1u, 0u, params.causal != 0u);
    let sees_on = params.window - 1u;
    let first_head = index % row_heads * shared_by;
    let heads_end = first_head + shared_by;
#endif
    kv_head = first_head / shared_by;
    let last_row = min(first_row + TILE, params.time) - 1u;
    let begin = max(first_row, sees_back) - sees_back;
    let end = min(params.time, last_row + 1u + sees_on);

    let row_span = segment_span(of_sequence, first_row);
    let lane = lane_of(local);
    let four = vec4<u32>(0u, 1u, 2u, 3u);
    var result: array<vec4<f32>, ROWS * VECTORS>;
    for (var h = first_head; h < heads_end; h++) {
        head = h;
        for (var first_column = begin / TILE * TILE; first_column < end; first_column += TILE) {
            if apart(row_span, segment_span(of_sequence, first_column)) {
                continue;
            }
            var scores = array<vec4<f32>, ROWS>();
            product(0u, first_row, first_column, local, &scores);
#if GRAD != dv
            var dp = array<vec4<f32>, ROWS>();
            product(1u, first_row, first_column, local, &dp);
#endif
            workgroupBarrier(); // the tiles are still being read
            let columns = vec4<u32>(first_column + 4u * lane.x) + four;
            let column_segments = segments_of(columns);
#if GRAD != dq
            let lses = vec4<f32>(lse_of(columns.x), lse_of(columns.y), lse_of(columns.z), lse_of(columns.w));
#endif
#if GRAD == dk
            let deltas =
                vec4<f32>(delta_of(columns.x), delta_of(columns.y), delta_of(columns.z), delta_of(columns.w));
#endif
            for (var i = 0u; i < ROWS; i++) {
                let row = lane.y + i * ROW_LANES;
                let rows = vec4<u32>(first_row + row);
#if GRAD == dq
                let lses = vec4<f32>(lse_of(rows.x));
                let deltas = vec4<f32>(delta_of(rows.x));
                let shown = visible(rows, columns, segments_of(rows), column_segments);
#else
                let shown = visible(columns, rows, column_segments, segments_of(rows));
#endif
                let p = exp2(scores[i] * (params.scale * LOG2_E) - lses);
#if GRAD == dv
                let weights = p;
#else
                let weights = p * (dp[i] - deltas);
#endif
                put_weights(row, lane.x, select(vec4<f32>(), weights, shown));
            }
            workgroupBarrier();
            accumulate(first_column, local, &result);
        }
    }

    for (var i = 0u; i < ROWS; i++) {
        let row = first_row + lane.y + i * ROW_LANES;
        if row < params.time {
            for (var j = 0u; j < VECTORS; j++) {
                let d = lane.x + j * LANES;
                if d < params.vectors {
#if GRAD == dv
                    store(row, d, result[i * VECTORS + j]);
#else
                    store(row, d, result[i * VECTORS + j] * params.scale);
#endif
                }
            }
        }
    }
}
