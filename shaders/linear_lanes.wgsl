// The product of linear.wgsl for devices whose subgroups are 8 invocations, with loads that cost far more than
// arithmetic: software adapters, where a subgroup is a vector register of the CPU.
//
// A workgroup is one subgroup, and there is no workgroup memory. It makes 16 x 64 of the output, each invocation 16 rows
// by 8 neighbouring columns in registers. Of the input, a load brings four steps of one row to each invocation, 32 steps
// in all, and shuffles hand them out. Of W, each invocation reads and dequantizes just its own columns, once for 16
// rows; the 16 levels of 4-bit codes lie in two registers of the subgroup, where a shuffle looks one up.
//
// K is a multiple of 64, and blocks are of 64 elements at least.

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
@group(0) @binding(8) var<storage, read_write> out: array<#{OUT}>; // y [M, N] or dx [M, K]

const LANES = #{SUBGROUP}u;
const ROWS = 16u; // of the output
const COLUMNS = 8u; // of each invocation
const STEPS = 32u; // of the input at a time: a quad of each lane

#if WEIGHT == nf4 || WEIGHT == nf4_double
#import nf4_lanes
#endif

// Weights of four steps by eight columns: [step] of columns 0..4 and of 4..8.
struct Steps {
    low: mat4x4<f32>,
    high: mat4x4<f32>,
}

#if DIRECTION == forward
// The rows of W that are this invocation's columns, the last one again where there are no more.
fn weight_row(column: u32) -> u32 {
    return min(column, params.outer - 1u);
}

#if WEIGHT == nf4 || WEIGHT == nf4_double
var<private> words: array<vec4<u32>, COLUMNS>; // 32 steps of each column
var<private> scale_low: vec4<f32>;
var<private> scale_high: vec4<f32>;

fn weight_steps_begin(column: u32, step: u32) {
    for (var c = 0u; c < COLUMNS; c++) {
        words[c] = weight[(params.weight_first + weight_row(column + c) * params.columns + step) / 32u];
    }
    if step % 64u == 0u {
        for (var c = 0u; c < 4u; c++) {
            scale_low[c] = nf4_absmax(weight_row(column + c) * params.columns + step);
            scale_high[c] = nf4_absmax(weight_row(column + 4u + c) * params.columns + step);
        }
    }
}

fn weight_steps(column: u32, step: u32, quad: u32) -> Steps {
    let word = quad / 2u;
    let shift = 16u * (quad % 2u);
    let low = transpose(mat4x4<f32>(
        nf4_quad(words[0][word] >> shift),
        nf4_quad(words[1][word] >> shift),
        nf4_quad(words[2][word] >> shift),
        nf4_quad(words[3][word] >> shift),
    ));
    let high = transpose(mat4x4<f32>(
        nf4_quad(words[4][word] >> shift),
        nf4_quad(words[5][word] >> shift),
        nf4_quad(words[6][word] >> shift),
        nf4_quad(words[7][word] >> shift),
    ));
    return Steps(
        mat4x4<f32>(low[0] * scale_low, low[1] * scale_low, low[2] * scale_low, low[3] * scale_low),
        mat4x4<f32>(high[0] * scale_high, high[1] * scale_high, high[2] * scale_high, high[3] * scale_high),
    );
}
#else
fn weight_steps_begin(column: u32, step: u32) {}

fn weight_steps(column: u32, step: u32, quad: u32) -> Steps {
    let k = step + 4u * quad;
    return Steps(
        transpose(mat4x4<f32>(
            weight_quad(weight_row(column), k),
            weight_quad(weight_row(column + 1u), k),
            weight_quad(weight_row(column + 2u), k),
            weight_quad(weight_row(column + 3u), k),
        )),
        transpose(mat4x4<f32>(
            weight_quad(weight_row(column + 4u), k),
            weight_quad(weight_row(column + 5u), k),
            weight_quad(weight_row(column + 6u), k),
            weight_quad(weight_row(column + 7u), k),
        )),
    );
}
#endif
#else
// Rows of W from the window's end on are multiplied with zeros.
fn weight_row(step: u32) -> u32 {
    return min(step, params.inner - 1u);
}

#if WEIGHT == nf4 || WEIGHT == nf4_double
var<private> scales: vec4<f32>; // of this invocation's four steps: a row's 64 columns share a block

fn weight_steps_begin(column: u32, step: u32) {
    let first = column / 64u * 64u;
    let lane = column / COLUMNS % LANES;
    for (var c = 0u; c < 4u; c++) {
        scales[c] = nf4_absmax(weight_row(step + 4u * lane + c) * params.columns + first);
    }
}

fn weight_word(step: u32, column: u32) -> u32 {
    let at = params.weight_first + weight_row(step) * params.columns + column;
    return weight[at / 32u][(at / 8u) % 4u];
}

fn weight_steps(column: u32, step: u32, quad: u32) -> Steps {
    let i = step + 4u * quad;
    let scale = subgroupShuffle(scales, quad);
    let word0 = weight_word(i, column);
    let word1 = weight_word(i + 1u, column);
    let word2 = weight_word(i + 2u, column);
    let word3 = weight_word(i + 3u, column);
    return Steps(
        mat4x4<f32>(
            nf4_quad(word0) * scale.x,
            nf4_quad(word1) * scale.y,
            nf4_quad(word2) * scale.z,
            nf4_quad(word3) * scale.w,
        ),
        mat4x4<f32>(
            nf4_quad(word0 >> 16u) * scale.x,
            nf4_quad(word1 >> 16u) * scale.y,
            nf4_quad(word2 >> 16u) * scale.z,
            nf4_quad(word3 >> 16u) * scale.w,
        ),
    );
}
#else
fn weight_steps_begin(column: u32, step: u32) {}

fn weight_steps(column: u32, step: u32, quad: u32) -> Steps {
    let i = step + 4u * quad;
    return Steps(
        mat4x4<f32>(
            weight_quad(weight_row(i), column),
            weight_quad(weight_row(i + 1u), column),
            weight_quad(weight_row(i + 2u), column),
            weight_quad(weight_row(i + 3u), column),
        ),
        mat4x4<f32>(
            weight_quad(weight_row(i), column + 4u),
            weight_quad(weight_row(i + 1u), column + 4u),
            weight_quad(weight_row(i + 2u), column + 4u),
            weight_quad(weight_row(i + 3u), column + 4u),
        ),
    );
}
#endif
#endif

// The adapter's right matrix at four neighbouring columns of the output.
fn right_quad(r: u32, column: u32) -> vec4<f32> {
    var quad: vec4<f32>;
    for (var c = 0u; c < 4u; c++) {
#if DIRECTION == forward
        quad[c] = right[params.right_first + weight_row(column + c) * params.rank + r];
#else
        quad[c] = right[params.right_first + r * params.columns + column + c];
#endif
    }
    return quad;
}

// Each invocation's own sums on their way out of the registers, so that loops over rows needn't be unrolled: a compiler
// takes its time for code that is.
var<workgroup> results: array<vec4<f32>, ROWS * 2u * LANES>; // [m][half][lane]

fn store(row: u32, column: u32, sums: vec4<f32>) {
    for (var c = 0u; c < min(params.outer - min(column, params.outer), 4u); c++) {
        let at = params.out_first + row * params.out_stride + column + c;
        var value = sums[c];
#if DIRECTION == forward
        if is_set(BIAS) {
            value += bias[params.bias_first + column + c];
        }
#else
        if is_set(ACCUMULATE) {
            value += f32(out[at]);
        }
#endif
        out[at] = #{OUT}(value);
    }
}

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup_index(group, groups);
    // Neighbouring workgroups share 64 columns of W^T, which stay in a cache.
    let row_tiles = (params.rows + ROWS - 1u) / ROWS;
    let row = index % row_tiles * ROWS;
    let tile = index / row_tiles * LANES * COLUMNS;
    if tile >= params.outer {
        return;
    }
    let column = tile + lane * COLUMNS;
#if WEIGHT == nf4 || WEIGHT == nf4_double
    nf4_lanes_begin(lane);
#endif
    var low: array<vec4<f32>, ROWS>;
    var high: array<vec4<f32>, ROWS>;

    // The adapter's share: each invocation holds one r of each row.
    for (var first = 0u; first < params.rank; first += LANES) {
        let r = min(first + lane, params.rank - 1u);
        var rows: array<f32, ROWS>;
        for (var m = 0u; m < ROWS; m++) {
            rows[m] = left[params.left_first + min(row + m, params.rows - 1u) * params.rank + r];
        }
        for (var j = 0u; j < min(LANES, params.rank - first); j++) {
            let right_low = right_quad(first + j, column);
            let right_high = right_quad(first + j, column + 4u);
            for (var m = 0u; m < ROWS; m++) {
                let factor = subgroupShuffle(rows[m], j);
                low[m] += factor * right_low;
                high[m] += factor * right_high;
            }
        }
    }
#if DIRECTION == backward
    for (var m = 0u; m < ROWS; m++) {
        results[2u * m * LANES + lane] = low[m];
        results[(2u * m + 1u) * LANES + lane] = high[m];
    }
    let dropped = select(0u, min(ROWS, params.rows - row), params.dropout_threshold > 0u);
    for (var m = 0u; m < dropped; m++) {
        results[2u * m * LANES + lane] *= dropout_factors(params.row_first + row + m, column / 4u);
        results[(2u * m + 1u) * LANES + lane] *= dropout_factors(params.row_first + row + m, column / 4u + 1u);
    }
    for (var m = 0u; m < ROWS; m++) {
        low[m] = results[2u * m * LANES + lane];
        high[m] = results[(2u * m + 1u) * LANES + lane];
    }
#endif

    for (var step = 0u; step < params.inner; step += STEPS) {
        // Quads from the window's end on are zeros.
        let own = step + 4u * lane;
        let at = params.input_first + min(own, params.inner - 4u);
        let inside = select(0.0, 1.0, own < params.inner);
        var rows: array<vec4<f32>, ROWS>;
        for (var m = 0u; m < ROWS; m++) {
            let start = min(row + m, params.rows - 1u) * params.input_stride;
            rows[m] = inside * vec4<f32>(input[(start + at) / 4u]);
        }
        weight_steps_begin(column, step);
        for (var quad = 0u; quad < LANES; quad++) {
            let steps = weight_steps(column, step, quad);
            for (var m = 0u; m < ROWS; m++) {
                let x = subgroupShuffle(rows[m], quad);
                low[m] += x.x * steps.low[0] + x.y * steps.low[1] + x.z * steps.low[2] + x.w * steps.low[3];
                high[m] += x.x * steps.high[0] + x.y * steps.high[1] + x.z * steps.high[2] + x.w * steps.high[3];
            }
        }
    }
    for (var m = 0u; m < ROWS; m++) {
        results[2u * m * LANES + lane] = low[m];
        results[(2u * m + 1u) * LANES + lane] = high[m];
    }
    for (var m = 0u; m < min(ROWS, params.rows - row); m++) {
        store(row + m, column, results[2u * m * LANES + lane]);
        store(row + m, column + 4u, results[(2u * m + 1u) * LANES + lane]);
    }
}
