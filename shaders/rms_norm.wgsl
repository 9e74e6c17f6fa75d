// Root mean square normalization of rows, and its gradient in x. With r = 1 / sqrt(mean(x^2) + eps) and g = dy * w:
//   y = x * r * w;  dx = r * (g - x * r^2 * mean(g * x)).
//
// One workgroup takes one row: its invocations walk the row WIDTH elements each, sum up, and walk it again (out of the
// cache) to write. THREADS 64 is for short rows, where 256 would mostly wait for each other.
#if ACT == f16
enable f16;
#endif
#import grid
#import vector
const THREADS = #{THREADS}u;
#import reduce

struct Params {
    rows: u32,
    width: u32, // vectors of WIDTH elements in a row
    columns: u32, // elements in a row
    eps: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>; // [rows, width]
@group(0) @binding(2) var<storage, read> weight: array<Value>; // [width]
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // [rows, width]
@group(0) @binding(4) var<storage, read> dy: array<Stored>; // [rows, width]
@group(0) @binding(5) var<storage, read_write> dx: array<Stored>; // [rows, width]

fn product(a: Value, b: Value) -> f32 {
#if WIDTH == 4
    return dot(a, b);
#else
    return a * b;
#endif
}

@compute @workgroup_size(THREADS)
fn forward(
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
    let row = workgroup_index(group, groups);
    if row >= params.rows {
        return; // the whole workgroup
    }
    let start = row * params.width;
    var squares = 0.0;
    for (var i = local; i < params.width; i += THREADS) {
        let value = Value(x[start + i]);
        squares += product(value, value);
    }
    let rstd = 1.0 / sqrt(reduce_sum(squares, local) / f32(params.columns) + params.eps);
    for (var i = local; i < params.width; i += THREADS) {
        y[start + i] = Stored(Value(x[start + i]) * rstd * weight[i]);
    }
}

@compute @workgroup_size(THREADS)
fn backward(
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
    let row = workgroup_index(group, groups);
    if row >= params.rows {
        return; // the whole workgroup
    }
    let start = row * params.width;
    var squares = 0.0;
    var products = 0.0;
    for (var i = local; i < params.width; i += THREADS) {
        let value = Value(x[start + i]);
        squares += product(value, value);
        products += product(Value(dy[start + i]) * weight[i], value);
    }
    let mean = reduce_sum(products, local) / f32(params.columns);
    let rstd = 1.0 / sqrt(reduce_sum(squares, local) / f32(params.columns) + params.eps);
    let shared_part = rstd * rstd * mean;
    for (var i = local; i < params.width; i += THREADS) {
        let grad = Value(dy[start + i]) * weight[i];
        dx[start + i] = Stored(rstd * (grad - Value(x[start + i]) * shared_part));
    }
}
