// A frozen linear layer with its adapter's share for fewer than 16 rows, as in generating one token at a time:
//
//   y[m, n] = sum_k x[m, k] W[n, k] + bias[n] + sum_r xa[m, r] B[n, r]
//
// The time is that of reading W, which is read once, by neighbours from neighbouring words. A workgroup makes ROWS rows
// by COLUMNS columns of y; each invocation sums every 64th run of 8 elements of K, and then the sums are added up in a
// fixed order. K is a multiple of 8.

#if ACT == f16 || OUT == f16
enable f16;
#endif
#import grid
#import linear_params
#import weight

@group(0) @binding(5) var<storage, read> bias: array<f32>; // [N]
@group(0) @binding(6) var<storage, read> left: array<f32>; // xa, [M, r]
@group(0) @binding(7) var<storage, read> right: array<f32>; // B [N, r]
@group(0) @binding(8) var<storage, read_write> out: array<#{OUT}>; // y [M, N]

const THREADS = 64u;
const ROWS = #{ROWS}u;
#if ROWS == 16
const COLUMNS = 2u;
#else
const COLUMNS = 4u;
#endif
const SUMS = ROWS * COLUMNS;
#if REDUCE == subgroup
const SLOTS = THREADS / 4u; // no subgroup is smaller than 4
#else
const SLOTS = THREADS;
#endif

var<workgroup> partial: array<f32, SLOTS * SUMS>; // [slot][m][n]

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
#if REDUCE == subgroup
    @builtin(subgroup_size) subgroup_size: u32,
#endif
) {
    let column = workgroup_index(group, groups) * COLUMNS;
    if column >= params.outer {
        return;
    }
    weight_begin(local);
    workgroupBarrier();

    var sums: array<f32, SUMS>;
    for (var k = local * 8u; k < params.inner; k += THREADS * 8u) {
        var low: array<vec4<f32>, COLUMNS>;
        var high: array<vec4<f32>, COLUMNS>;
        for (var c = 0u; c < COLUMNS; c++) {
            // The last workgroup computes its last column again rather than one outside.
            let n = min(column + c, params.outer - 1u);
            low[c] = weight_quad(n, k);
            high[c] = weight_quad(n, k + 4u);
        }
        for (var m = 0u; m < ROWS; m++) {
            let x_low = input_quad(m, k);
            let x_high = input_quad(m, k + 4u);
            for (var c = 0u; c < COLUMNS; c++) {
                sums[m * COLUMNS + c] += dot(x_low, low[c]) + dot(x_high, high[c]);
            }
        }
    }

#if REDUCE == subgroup
    let slots = max(THREADS / subgroup_size, 1u);
    for (var i = 0u; i < SUMS; i++) {
        let sum = subgroupAdd(sums[i]);
        if local % subgroup_size == 0u {
            partial[local / subgroup_size * SUMS + i] = sum;
        }
    }
#else
    let slots = THREADS;
    for (var i = 0u; i < SUMS; i++) {
        partial[local * SUMS + i] = sums[i];
    }
#endif
    workgroupBarrier();
    if local >= SUMS {
        return;
    }
    let m = local / COLUMNS;
    let n = column + local % COLUMNS;
    if m >= params.rows || n >= params.outer {
        return;
    }
    var y = 0.0;
    for (var slot = 0u; slot < slots; slot++) {
        y += partial[slot * SUMS + local];
    }
    if is_set(BIAS) {
        y += bias[params.bias_first + n];
    }
    for (var r = 0u; r < params.rank; r++) {
        y += left[params.left_first + m * params.rank + r] * right[params.right_first + n * params.rank + r];
    }
    out[params.out_first + m * params.out_stride + n] = #{OUT}(y);
}
