// out[m, :] = table[ids[m], :]: the rows of the table that ids name, in f32 or f16. An id past the table gives NaN.
//
// One invocation takes WIDTH elements of one row. The table may be bound in parts, a launch each: a launch leaves rows
// of other parts alone.
#if ACT == f16
enable f16;
#endif
#import grid
#import vector

struct Params {
    rows: u32, // M
    width: u32, // vectors of WIDTH elements in a row: H / WIDTH
    first: u32, // the first id of the bound part
    last: u32, // the id after its last
    past: u32, // from this id on: NaN
    nan: u32, // the bits of NaN, which WGSL can't name
}

#if TABLE == f32
alias Packed = Value;
#elif WIDTH == 4
alias Packed = vec2<u32>; // two elements a word, the first in the low half
#else
alias Packed = u32;
#endif

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read> table: array<Packed>; // [last - first, width], without gaps
@group(0) @binding(3) var<storage, read_write> out: array<Stored>; // [rows, width]

#if TABLE != f32
// The two elements of a word.
fn unpack(word: u32) -> vec2<f32> {
#if TABLE == f16
    return unpack2x16float(word);
#else
    return bitcast<vec2<f32>>(vec2(word << 16u, word & 0xffff0000u));
#endif
}
#endif

fn load(i: u32) -> Value {
#if TABLE == f32
    return table[i];
#elif WIDTH == 4
    let words = table[i];
    return vec4(unpack(words.x), unpack(words.y));
#else
    let pair = unpack(table[i / 2u]);
    return select(pair.x, pair.y, i % 2u == 1u);
#endif
}

@compute @workgroup_size(256)
fn embedding(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup_index(group, groups) * 256u + local;
    let row = index / params.width;
    if row >= params.rows {
        return;
    }
    let id = ids[row];
    if id >= params.past {
        out[index] = Stored(Value(bitcast<f32>(params.nan)));
    } else if id >= params.first && id < params.last {
        out[index] = Stored(load((id - params.first) * params.width + index % params.width));
    }
}
