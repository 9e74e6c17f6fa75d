// Attention of one new query a sequence over the cached keys and values: softmax(scale * q k^T) v over the keys below
// lengths[b], with a window only those at a distance below it from the last.
//
// A workgroup has one query head and, of the keys that it sees, one of `splits` parts ("flash decoding"). Sixteen
// groups of eight invocations take 64 keys at a time, each group every sixteenth key; a group keeps its own maximum,
// sum and weighted values, which are joined at the end. With PARTIAL=1 the parts' results go to `parts`, and
// attention_combine.wgsl joins those. Powers are of 2, with log2(e) in the scale.
#if ACT == f16
enable f16;
#endif
#import grid

#if WIDTH == 4
alias Element = vec4<#{ACT}>;
#else
alias Element = #{ACT};
#endif

struct Params {
    batch: u32,
    capacity: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
    vectors: u32, // of 4 elements, in a head
    first: u32, // the first sequence's place in all but the caches
    window: u32, // u32::MAX for none
    splits: u32,
    scale: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<Element>; // [.., Hq, D]
@group(0) @binding(2) var<storage, read> k_cache: array<Element>; // [B, S, Hkv, D]
@group(0) @binding(3) var<storage, read> v_cache: array<Element>; // [B, S, Hkv, D]
@group(0) @binding(4) var<storage, read> lengths: array<u32>; // [..]
#if PARTIAL == 1
// For each part the weighted sum of values, then its maximum and sum: [.., Hq, splits, vectors + 1].
@group(0) @binding(5) var<storage, read_write> parts: array<vec4<f32>>;
#else
@group(0) @binding(5) var<storage, read_write> out: array<Element>; // [.., Hq, D]
#endif

const LANES = 8u;
const GROUPS = 16u;
const TILE = 4u * GROUPS;
const VECTORS = #{DIM}u / 4u / LANES;
const LOG2_E = 1.4426950408889634;
// The maximum of no keys; finite, so that differences are.
const HIDDEN = -3.0e38;

// Shares of the scores of a group's four keys, [group, lane], in turns: one barrier a tile is enough.
var<workgroup> shares: array<vec4<f32>, 2u * GROUPS * LANES>;
var<workgroup> joined: array<vec4<f32>, GROUPS * LANES>;

// Which elements of vector d lie within the head.
fn inside(d: u32) -> vec4<bool> {
    return vec4<u32>(4u * d) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.dim);
}

// Where the elements of vector d of a row are, repeating the last one.
fn elements(row: u32, d: u32) -> vec4<u32> {
    let wanted = vec4<u32>(4u * d) + vec4<u32>(0u, 1u, 2u, 3u);
    return vec4<u32>(row * params.dim) + min(wanted, vec4<u32>(params.dim - 1u));
}

fn q_value(row: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(q[row * params.vectors + d]);
#else
    let at = elements(row, d);
    let x = vec4<f32>(f32(q[at.x]), f32(q[at.y]), f32(q[at.z]), f32(q[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

fn k_value(row: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(k_cache[row * params.vectors + d]);
#else
    let at = elements(row, d);
    let x = vec4<f32>(f32(k_cache[at.x]), f32(k_cache[at.y]), f32(k_cache[at.z]), f32(k_cache[at.w]));
    return select(vec4<f32>(), x, inside(d));
#endif
}

fn v_value(row: u32, d: u32) -> vec4<f32> {
#if WIDTH == 4
    return vec4<f32>(v_cache[row * params.vectors + d]);
#else
    let at = elements(row, d);
    return vec4<f32>(f32(v_cache[at.x]), f32(v_cache[at.y]), f32(v_cache[at.z]), f32(v_cache[at.w]));
#endif
}

#if PARTIAL == 0
fn store(row: u32, d: u32, value: vec4<f32>) {
#if WIDTH == 4
    out[row * params.vectors + d] = Element(value);
#else
    for (var i = 0u; i < 4u; i++) {
        if 4u * d + i < params.dim {
            out[row * params.dim + 4u * d + i] = Element(value[i]);
        }
    }
#endif
}
#endif

@compute @workgroup_size(128)
fn decode(
    @builtin(workgroup_id) group_id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(group_id, groups);
    if index >= params.batch * params.heads * params.splits {
        return;
    }
    let split = index % params.splits;
    let sequence = index / params.splits / params.heads;
    let head = index / params.splits % params.heads;
    let kv_head = head / (params.heads / params.kv_heads);
    let query_row = (params.first + sequence) * params.heads + head;

    let length = lengths[params.first + sequence];
    let end = min(length, params.capacity);
    let begin = min(length - min(length, params.window), end);
    let tiles = (end - begin + TILE - 1u) / TILE;
    let part = (tiles + params.splits - 1u) / params.splits * TILE;
    let start = min(begin + split * part, end);
    let stop = min(start + part, end);

    let lane = local % LANES;
    let group = local / LANES;
    var query: array<vec4<f32>, VECTORS>;
    for (var j = 0u; j < VECTORS; j++) {
        let d = lane + j * LANES;
        if d < params.vectors {
            query[j] = q_value(query_row, d) * (params.scale * LOG2_E);
        }
    }
    var most = HIDDEN;
    var sum = 0.0;
    var result: array<vec4<f32>, VECTORS>;
    var turn = 0u;
    for (var tile = start; tile < stop; tile += TILE) {
        let keys = vec4<u32>(tile + group) + GROUPS * vec4<u32>(0u, 1u, 2u, 3u);
        let shown = keys < vec4<u32>(stop);
        // Past the end, where weights are 0, the last key stands in.
        let cached = vec4<u32>(sequence * params.capacity) + min(keys, vec4<u32>(stop - 1u));
        let rows = cached * params.kv_heads + kv_head;
        var share = vec4<f32>();
        for (var j = 0u; j < VECTORS; j++) {
            let d = lane + j * LANES;
            if d < params.vectors {
                let x = query[j];
                share += vec4<f32>(
                    dot(x, k_value(rows.x, d)),
                    dot(x, k_value(rows.y, d)),
                    dot(x, k_value(rows.z, d)),
                    dot(x, k_value(rows.w, d)),
                );
            }
        }
        shares[turn + group * LANES + lane] = share;
        workgroupBarrier();
        var score = vec4<f32>();
        for (var j = 0u; j < LANES; j++) {
            score += shares[turn + group * LANES + j];
        }
        let scores = select(vec4<f32>(HIDDEN), score, shown);
        let highest = max(most, max(max(scores.x, scores.y), max(scores.z, scores.w)));
        let shrink = exp2(most - highest);
        most = highest;
        let weights = select(exp2(scores - highest), vec4<f32>(), scores == vec4<f32>(HIDDEN));
        sum = sum * shrink + (weights.x + weights.y + weights.z + weights.w);
        for (var j = 0u; j < VECTORS; j++) {
            let d = lane + j * LANES;
            if d < params.vectors {
                result[j] = result[j] * shrink
                    + weights.x * v_value(rows.x, d)
                    + weights.y * v_value(rows.y, d)
                    + weights.z * v_value(rows.z, d)
                    + weights.w * v_value(rows.w, d);
            }
        }
        turn = GROUPS * LANES - turn;
    }

    workgroupBarrier(); // the last tile's shares are still being read
    if lane == 0u {
        shares[group] = vec4<f32>(most, sum, 0.0, 0.0);
    }
    workgroupBarrier();
    var highest = HIDDEN;
    for (var i = 0u; i < GROUPS; i++) {
        highest = max(highest, shares[i].x);
    }
    var total = 0.0;
    for (var i = 0u; i < GROUPS; i++) {
        total += shares[i].y * exp2(shares[i].x - highest);
    }
    let factor = exp2(most - highest);
#if PARTIAL == 1
    let place = (query_row * params.splits + split) * (params.vectors + 1u);
    if local == 0u {
        parts[place + params.vectors] = vec4<f32>(highest, total, 0.0, 0.0);
    }
#endif
    for (var j = 0u; j < VECTORS; j++) {
        joined[local] = result[j] * factor;
        workgroupBarrier();
        let d = lane + j * LANES;
        if group == 0u && d < params.vectors {
            var value = vec4<f32>();
            for (var i = 0u; i < GROUPS; i++) {
                value += joined[i * LANES + lane];
            }
#if PARTIAL == 1
            parts[place + d] = value;
#else
            // Without any key the result is 0.
            store(query_row, d, value / select(total, 1.0, total == 0.0));
#endif
        }
        workgroupBarrier();
    }
}
