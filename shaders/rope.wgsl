// Rotary position embedding in the half-split layout. With p = positions[m], R = 2 * half, and for i < half
// c = table[p, i], s = table[p, half + i] (negated for the inverse):
//   out[m, h, i] = x[m, h, i] c - x[m, h, half + i] s;  out[m, h, half + i] = x[m, h, half + i] c + x[m, h, i] s.
// Elements from R on are copied. A position past the table gives NaN.
//
// One invocation takes WIDTH pairs of one head, or WIDTH elements that are copied. The table may be bound in parts, a
// launch each: a launch leaves rows of other parts alone.
#if ACT == f16
enable f16;
#endif
#import grid
#import vector

struct Params {
    rows: u32, // M
    heads: u32, // H
    dim: u32, // vectors of WIDTH elements in a head: D / WIDTH
    half: u32, // vectors of WIDTH elements in half of what is rotated: R / 2 / WIDTH
    first: u32, // the first position of the bound part
    last: u32, // the position after its last
    past: u32, // from this position on: NaN
    sign: f32, // -1 for the inverse
    nan: u32, // the bits of NaN, which WGSL can't name
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // [rows, heads, dim]
@group(0) @binding(2) var<storage, read> positions: array<u32>; // [rows]
@group(0) @binding(3) var<storage, read> table: array<Value>; // [last - first, 2 * half]
@group(0) @binding(4) var<storage, read_write> out: array<Stored>; // [rows, heads, dim]

@compute @workgroup_size(256)
fn rope(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let units = params.dim - params.half; // pairs, then single ones
    let index = workgroup_index(group, groups) * 256u + local;
    let head = index / units; // of all rows
    let unit = index % units;
    let row = head / params.heads;
    if row >= params.rows {
        return;
    }
    let start = head * params.dim;
    let position = positions[row];
    let is_pair = unit < params.half;
    if position >= params.past {
        let nan = Stored(Value(bitcast<f32>(params.nan)));
        if is_pair {
            out[start + unit] = nan;
        }
        out[start + params.half + unit] = nan;
        return;
    }
    if position < params.first || position >= params.last {
        return;
    }
    if !is_pair {
        out[start + params.half + unit] = x[start + params.half + unit];
        return;
    }
    let place = (position - params.first) * 2u * params.half + unit;
    let cosine = table[place];
    let sine = table[place + params.half] * params.sign;
    let first = Value(x[start + unit]);
    let second = Value(x[start + params.half + unit]);
    out[start + unit] = Stored(first * cosine - second * sine);
    out[start + params.half + unit] = Stored(second * cosine + first * sine);
}
