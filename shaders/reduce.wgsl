// out[i, column + c] = sum over chunk c of row i of x, or of x squared: x [R, C] f32, chunks of `chunk` elements.
//
// One workgroup a chunk: every invocation sums each THREADS-th element, then the workgroup sums those. The host sums
// again what is left, so the order is fixed.
#import grid
#import reduce

const THREADS = 256u;

struct Params {
    rows: u32, // R, or 1 where `x` is a part of one row
    columns: u32, // elements of a row of `x`, or of the part
    chunk: u32, // elements of a chunk
    start: u32, // where the part begins in the binding of `x`
    width: u32, // S, the columns of `out`
    place: u32, // the first element of `out` that is written, in its first row
    square: u32, // 1 to sum squares
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [R, C]
@group(0) @binding(2) var<storage, read_write> out: array<f32>; // [R, S]

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
#if REDUCE == subgroup
    @builtin(subgroup_size) subgroup_size: u32,
#endif
) {
#if REDUCE == subgroup
    reduce_begin(subgroup_size);
#endif
    let chunks = (params.columns + params.chunk - 1u) / params.chunk;
    let index = workgroup_index(group, groups);
    if index >= params.rows * chunks {
        return;
    }
    let row = index / chunks;
    let chunk = index % chunks;
    let first = chunk * params.chunk;
    let base = params.start + row * params.columns + first;
    let length = min(params.chunk, params.columns - first);
    var sum = 0.0;
    for (var i = local; i < length; i += THREADS) {
        let value = x[base + i];
        sum += select(value, value * value, params.square == 1u);
    }
    let total = reduce_sum(sum, local);
    if local == 0u {
        out[params.place + row * params.width + chunk] = total;
    }
}
