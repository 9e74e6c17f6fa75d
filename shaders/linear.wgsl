// A frozen linear layer with its adapter's share, and its gradient in x, for many rows:
//
//   DIRECTION=forward    y[m, n]  = sum_k x[m, k] W[n, k] + bias[n] + sum_r xa[m, r] B[n, r]
//   DIRECTION=backward   dx[m, k] = sum_n dy[m, n] W[n, k] + factor(m, k) * sum_r dyb[m, r] A[r, k]
//
// with `factor` the dropout of forward. W stays packed: it is dequantized into workgroup memory, a tile at a time, and
// each value serves 64 rows.
//
// A workgroup makes a tile of 64 x 64 of the output, an invocation 8 x 8 of it: rows 4 ty and 32 + 4 ty, columns 4 tx
// and 32 + 4 tx, four each, so that neighbours read neighbouring vectors. The adapter's share is summed first, as more
// steps of the same product, and dropout multiplies it before W's sum begins.

#if ACT == f16 || OUT == f16
enable f16;
#endif
#import grid
#import linear_params
#import weight
#if DIRECTION == backward
#import philox
#endif

#if DIRECTION == forward
@group(0) @binding(5) var<storage, read> bias: array<f32>; // [N]
#endif
@group(0) @binding(6) var<storage, read> left: array<f32>; // xa or dyb, [M, r]
@group(0) @binding(7) var<storage, read> right: array<f32>; // B [N, r] or A [r, K]
#if ALIGNED == 1
@group(0) @binding(8) var<storage, read_write> out: array<vec4<#{OUT}>>; // y [M, N] or dx [M, K]
#else
@group(0) @binding(8) var<storage, read_write> out: array<#{OUT}>; // y [M, N] or dx [M, K]
#endif

const THREADS = 64u;
const TILE = 64u; // rows and columns of the output
const DEPTH = 16u; // summed at a time
const PITCH = 17u; // vectors a step: 16, and one against bank conflicts

var<workgroup> tile_input: array<vec4<f32>, DEPTH * PITCH>; // [i][m / 4]
var<workgroup> tile_weight: array<vec4<f32>, DEPTH * PITCH>; // [i][o / 4]

// Sums of rows (0 or 32) + 4 ty and columns (0 or 32) + 4 tx; a matrix's columns are rows of the output.
var<private> sum00: mat4x4<f32>;
var<private> sum01: mat4x4<f32>;
var<private> sum10: mat4x4<f32>;
var<private> sum11: mat4x4<f32>;

// Four rows by four steps arrive as rows and are stored as steps.
fn store_input(group: u32, step: u32, rows: mat4x4<f32>) {
    let steps = transpose(rows);
    for (var j = 0u; j < 4u; j++) {
        tile_input[(step + j) * PITCH + group] = steps[j];
    }
}

fn store_weight(group: u32, step: u32, rows: mat4x4<f32>) {
    let steps = transpose(rows);
    for (var j = 0u; j < 4u; j++) {
        tile_weight[(step + j) * PITCH + group] = steps[j];
    }
}

// Four neighbours of a row of the adapter's left matrix; zeros outside.
fn left_quad(row: u32, column: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        if row < params.rows && column + j < params.rank {
            quad[j] = left[params.left_first + row * params.rank + column + j];
        }
    }
    return quad;
}

// Four neighbours of a row of the adapter's right matrix; zeros outside.
fn right_quad(row: u32, column: u32) -> vec4<f32> {
#if DIRECTION == forward
    let rows = params.outer;
    let columns = params.rank;
#else
    let rows = params.rank;
    let columns = params.outer;
#endif
    var quad = vec4<f32>();
    for (var j = 0u; j < 4u; j++) {
        if row < rows && column + j < columns {
            quad[j] = right[params.right_first + row * columns + column + j];
        }
    }
    return quad;
}

fn load_adapter(local: u32, row: u32, column: u32, step: u32) {
    let group = local / 4u;
    let quad = local % 4u * 4u;
    let m = row + 4u * group;
    let i = step + quad;
    store_input(group, quad, mat4x4<f32>(
        left_quad(m, i),
        left_quad(m + 1u, i),
        left_quad(m + 2u, i),
        left_quad(m + 3u, i),
    ));
#if DIRECTION == forward
    let n = column + 4u * group;
    store_weight(group, quad, mat4x4<f32>(
        right_quad(n, i),
        right_quad(n + 1u, i),
        right_quad(n + 2u, i),
        right_quad(n + 3u, i),
    ));
#else
    for (var j = 0u; j < 4u; j++) {
        let depth = local / 16u + 4u * j;
        let lane = local % 16u;
        tile_weight[depth * PITCH + lane] = right_quad(step + depth, column + 4u * lane);
    }
#endif
}

// A row of W within the window, or zeros.
fn guarded_quad(row: u32, column: u32) -> vec4<f32> {
#if DIRECTION == forward
    let rows = params.outer;
#else
    let rows = params.inner;
#endif
    var quad = vec4<f32>();
    if row < rows && column < params.columns {
        quad = weight_quad(row, column);
    }
    return quad;
}

fn load(local: u32, row: u32, column: u32, step: u32) {
    let group = local / 4u;
    let quad = local % 4u * 4u;
    let m = row + 4u * group;
    let i = step + quad;
    store_input(group, quad, mat4x4<f32>(
        input_quad(m, i),
        input_quad(m + 1u, i),
        input_quad(m + 2u, i),
        input_quad(m + 3u, i),
    ));
#if DIRECTION == forward
    let n = column + 4u * group;
    store_weight(group, quad, mat4x4<f32>(
        guarded_quad(n, i),
        guarded_quad(n + 1u, i),
        guarded_quad(n + 2u, i),
        guarded_quad(n + 3u, i),
    ));
#else
    for (var j = 0u; j < 4u; j++) {
        let depth = local / 16u + 4u * j;
        let lane = local % 16u;
        tile_weight[depth * PITCH + lane] = guarded_quad(step + depth, column + 4u * lane);
    }
#endif
}

fn multiply(tx: u32, ty: u32) {
    for (var i = 0u; i < DEPTH; i++) {
        let a0 = tile_input[i * PITCH + ty];
        let a1 = tile_input[i * PITCH + 8u + ty];
        let b0 = tile_weight[i * PITCH + tx];
        let b1 = tile_weight[i * PITCH + 8u + tx];
        sum00[0] += a0.x * b0;
        sum00[1] += a0.y * b0;
        sum00[2] += a0.z * b0;
        sum00[3] += a0.w * b0;
        sum01[0] += a0.x * b1;
        sum01[1] += a0.y * b1;
        sum01[2] += a0.z * b1;
        sum01[3] += a0.w * b1;
        sum10[0] += a1.x * b0;
        sum10[1] += a1.y * b0;
        sum10[2] += a1.z * b0;
        sum10[3] += a1.w * b0;
        sum11[0] += a1.x * b1;
        sum11[1] += a1.y * b1;
        sum11[2] += a1.z * b1;
        sum11[3] += a1.w * b1;
    }
}

#if DIRECTION == backward
// The dropout of four rows by four columns.
fn drop(row: u32, column: u32, sums: mat4x4<f32>) -> mat4x4<f32> {
    let m = params.row_first + row;
    let quad = column / 4u;
    return mat4x4<f32>(
        sums[0] * dropout_factors(m, quad),
        sums[1] * dropout_factors(m + 1u, quad),
        sums[2] * dropout_factors(m + 2u, quad),
        sums[3] * dropout_factors(m + 3u, quad),
    );
}
#endif

#if DIRECTION == forward
fn bias_quad(column: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if is_set(BIAS) {
        for (var c = 0u; c < 4u; c++) {
            if column + c < params.outer {
                quad[c] = bias[params.bias_first + column + c];
            }
        }
    }
    return quad;
}
#endif

#if ALIGNED == 1
fn store_row(row: u32, column: u32, sums: vec4<f32>) {
    if row < params.rows && column < params.outer {
        let at = (params.out_first + row * params.out_stride + column) / 4u;
        var value = sums;
#if DIRECTION == backward
        if is_set(ACCUMULATE) {
            value += vec4<f32>(out[at]);
        }
#endif
        out[at] = vec4<#{OUT}>(value);
    }
}
#else
fn store_row(row: u32, column: u32, sums: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) {
        if row < params.rows && column + c < params.outer {
            let at = params.out_first + row * params.out_stride + column + c;
            var value = sums[c];
#if DIRECTION == backward
            if is_set(ACCUMULATE) {
                value += f32(out[at]);
            }
#endif
            out[at] = #{OUT}(value);
        }
    }
}
#endif

fn store(row: u32, column: u32, sums: mat4x4<f32>) {
#if DIRECTION == forward
    let extra = bias_quad(column);
#else
    let extra = vec4<f32>();
#endif
    store_row(row, column, sums[0] + extra);
    store_row(row + 1u, column, sums[1] + extra);
    store_row(row + 2u, column, sums[2] + extra);
    store_row(row + 3u, column, sums[3] + extra);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let index = workgroup_index(group, groups);
    // Neighbouring workgroups share a tile of W.
    let row_tiles = (params.rows + TILE - 1u) / TILE;
    let row = index % row_tiles * TILE;
    let column = index / row_tiles * TILE;
    if column >= params.outer {
        return;
    }
    let tx = local % 8u;
    let ty = local / 8u;
    weight_begin(local);
    for (var step = 0u; step < params.rank; step += DEPTH) {
        load_adapter(local, row, column, step);
        workgroupBarrier();
        multiply(tx, ty);
        workgroupBarrier();
    }
#if DIRECTION == backward
    if params.dropout_threshold > 0u {
        sum00 = drop(row + 4u * ty, column + 4u * tx, sum00);
        sum01 = drop(row + 4u * ty, column + 32u + 4u * tx, sum01);
        sum10 = drop(row + 32u + 4u * ty, column + 4u * tx, sum10);
        sum11 = drop(row + 32u + 4u * ty, column + 32u + 4u * tx, sum11);
    }
#endif
    workgroupBarrier();
    for (var step = 0u; step < params.inner; step += DEPTH) {
        load(local, row, column, step);
        workgroupBarrier();
        multiply(tx, ty);
        workgroupBarrier();
    }
    store(row + 4u * ty, column + 4u * tx, sum00);
    store(row + 4u * ty, column + 32u + 4u * tx, sum01);
    store(row + 32u + 4u * ty, column + 4u * tx, sum10);
    store(row + 32u + 4u * ty, column + 32u + 4u * tx, sum11);
}
