// The product of linear.wgsl on cooperative matrices (tensor cores, simdgroup matrices): f16 activations, and weights
// that f16 can hold, which are rounded to it. Sums are f32.
//
//   DIRECTION=forward    y[m, n]  = sum_k x[m, k] W[n, k] + bias[n] + sum_r xa[m, r] B[n, r]
//   DIRECTION=backward   dx[m, k] = sum_n dy[m, n] W[n, k] + factor(m, k) * sum_r dyb[m, r] A[r, k]
//
// A workgroup makes a tile of 64 x 64 of the output, each of its four subgroups of 32 invocations a quarter of it:
// 32 x 32, as 2 x 2 matrices of 16 x 16 (SIZE=16) or 4 x 4 of 8 x 8 (SIZE=8). W is dequantized into workgroup memory,
// 32 steps at a time. What is added to W's sum (the adapter's share, in f32, with dropout; the bias; the windows
// before) is where the sum begins. Between registers and matrices a block of 16 x 16 goes through `scratch`, of which
// each subgroup has its own part.
//
// MMA=coop is translated to SPIR-V and MSL, and its indexing tested with MMA=emulated. It has not yet run on hardware,
// and is therefore used only where a caller asks for the tier. To be seen there: naga 30 declares Vulkan's memory model
// without marking accesses of workgroup memory as shared (NonPrivatePointer), which drivers would have to forgive.

enable f16;
#if MMA == coop
enable wgpu_cooperative_matrix;
#endif
#import grid
#import linear_params
#import weight
#import matrix
#if DIRECTION == backward
#import philox
#endif

#if DIRECTION == forward
@group(0) @binding(5) var<storage, read> bias: array<f32>; // [N]
#endif
@group(0) @binding(6) var<storage, read> left: array<f32>; // xa or dyb, [M, r]
@group(0) @binding(7) var<storage, read> right: array<f32>; // B [N, r] or A [r, K]
@group(0) @binding(8) var<storage, read_write> out: array<vec4<#{OUT}>>; // y [M, N] or dx [M, K]

const THREADS = 128u;
const LANES = 32u; // of a subgroup
const TILE = 64u; // rows and columns of the output
const QUARTER = 32u; // rows and columns of a subgroup
const BLOCK = 16u; // rows and columns in `scratch`
const DEPTH = 32u; // summed at a time
const RANKS = 8u; // of the adapter at a time

// Rows of matrices begin on 16 bytes; half a row more keeps neighbours in different banks.
const INPUT_PITCH = 40u;
#if DIRECTION == forward
const WEIGHT_PITCH = 40u;
const WEIGHT_TILE = 2560u;
#else
const WEIGHT_PITCH = 72u;
const WEIGHT_TILE = 2304u;
#endif
const SCRATCH_PITCH = BLOCK;

var<workgroup> tile_input: array<f16, 2560>; // [m][i]
var<workgroup> tile_weight: array<f16, WEIGHT_TILE>; // forward [o][i], backward [i][o]
var<workgroup> scratch: array<f32, 1024>; // [subgroup][16][16], or [64][8] of `left` and [8][64] of `right`

// This invocation's quads of its subgroup's four blocks, two each.
var<private> quads: array<vec4<f32>, 8>;

// The row and the first column, within the tile, of a quad of `quads`.
fn quad_place(local: u32, quad: u32) -> vec2<u32> {
    let subgroup = local / LANES;
    let block = quad / 2u;
    let in_block = local % LANES + quad % 2u * LANES;
    return vec2<u32>(
        subgroup / 2u * QUARTER + block / 2u * BLOCK + in_block / 4u,
        subgroup % 2u * QUARTER + block % 2u * BLOCK + in_block % 4u * 4u,
    );
}

// Adds the adapter's share to `quads`.
fn add_adapter(local: u32, row: u32, column: u32) {
    for (var first = 0u; first < params.rank; first += RANKS) {
        for (var i = local; i < TILE * RANKS; i += THREADS) {
            let m = row + i / RANKS;
            let r = first + i % RANKS;
            var value = 0.0;
            if m < params.rows && r < params.rank {
                value = left[params.left_first + m * params.rank + r];
            }
            scratch[i] = value;
        }
        for (var i = local; i < TILE * RANKS; i += THREADS) {
#if DIRECTION == forward
            let o = i / RANKS;
            let r = i % RANKS;
            let at = (column + o) * params.rank + first + r;
#else
            let o = i % TILE;
            let r = i / TILE;
            let at = (first + r) * params.outer + column + o;
#endif
            var value = 0.0;
            if column + o < params.outer && first + r < params.rank {
                value = right[params.right_first + at];
            }
            scratch[TILE * RANKS + r * TILE + o] = value;
        }
        workgroupBarrier();
        for (var quad = 0u; quad < 8u; quad++) {
            let place = quad_place(local, quad);
            var sum = quads[quad];
            for (var r = 0u; r < RANKS; r++) {
                let at = TILE * RANKS + r * TILE + place.y;
                let values = vec4<f32>(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]);
                sum += scratch[place.x * RANKS + r] * values;
            }
            quads[quad] = sum;
        }
        workgroupBarrier();
    }
}

// From the adapter's share in `quads` to what W's sums begin with.
fn add_rest(local: u32, row: u32, column: u32) {
    for (var quad = 0u; quad < 8u; quad++) {
        let place = quad_place(local, quad);
        let m = row + place.x;
        let o = column + place.y;
        if m < params.rows && o < params.outer {
            var sum = quads[quad];
#if DIRECTION == forward
            if is_set(BIAS) {
                let at = params.bias_first + o;
                sum += vec4<f32>(bias[at], bias[at + 1u], bias[at + 2u], bias[at + 3u]);
            }
#else
            if params.dropout_threshold > 0u {
                sum *= dropout_factors(params.row_first + m, o / 4u);
            }
            if is_set(ACCUMULATE) {
                sum += vec4<f32>(out[(params.out_first + m * params.out_stride + o) / 4u]);
            }
#endif
            quads[quad] = sum;
        }
    }
}

// A block's quads to `scratch`.
fn begin_block(local: u32, block: u32) {
    workgroupBarrier();
    for (var half = 0u; half < 2u; half++) {
        let sum = quads[2u * block + half];
        let at = local / LANES * BLOCK * BLOCK + (local % LANES + half * LANES) * 4u;
        for (var c = 0u; c < 4u; c++) {
            scratch[at + c] = sum[c];
        }
    }
    workgroupBarrier();
}

// A block's sums from `scratch` to the output.
fn end_block(local: u32, row: u32, column: u32, block: u32) {
    workgroupBarrier();
    for (var half = 0u; half < 2u; half++) {
        let place = quad_place(local, 2u * block + half);
        let m = row + place.x;
        let o = column + place.y;
        if m < params.rows && o < params.outer {
            let at = local / LANES * BLOCK * BLOCK + (local % LANES + half * LANES) * 4u;
            let sum = vec4<f32>(scratch[at], scratch[at + 1u], scratch[at + 2u], scratch[at + 3u]);
            out[(params.out_first + m * params.out_stride + o) / 4u] = vec4<#{OUT}>(sum);
        }
    }
    workgroupBarrier();
}

// DEPTH steps of the input and of W.
fn load(local: u32, row: u32, column: u32, step: u32) {
    for (var i = local; i < TILE * DEPTH / 4u; i += THREADS) {
        let m = i / (DEPTH / 4u);
        let depth = i % (DEPTH / 4u) * 4u;
        let quad = vec4<f16>(input_quad(row + m, step + depth));
        for (var c = 0u; c < 4u; c++) {
            tile_input[m * INPUT_PITCH + depth + c] = quad[c];
        }
    }
    for (var i = local; i < TILE * DEPTH / 4u; i += THREADS) {
#if DIRECTION == forward
        let place = vec2<u32>(i / (DEPTH / 4u), i % (DEPTH / 4u) * 4u);
        let at = vec2<u32>(column, step) + place;
        let rows = params.outer;
#else
        let place = vec2<u32>(i / (TILE / 4u), i % (TILE / 4u) * 4u);
        let at = vec2<u32>(step, column) + place;
        let rows = params.inner;
#endif
        var quad = vec4<f32>();
        if at.x < rows && at.y < params.columns {
            quad = weight_quad(at.x, at.y);
        }
        let halves = vec4<f16>(quad);
        for (var c = 0u; c < 4u; c++) {
            tile_weight[place.x * WEIGHT_PITCH + place.y + c] = halves[c];
        }
    }
}

// Of a subgroup's matrices, the places of A's row and of B's column `index`.
fn place_a(local: u32, index: u32, depth: u32) -> u32 {
    return (local / LANES / 2u * QUARTER + index * #{SIZE}u) * INPUT_PITCH + depth;
}

fn place_b(local: u32, index: u32, depth: u32) -> u32 {
    let column = local / LANES % 2u * QUARTER + index * #{SIZE}u;
#if DIRECTION == forward
    return column * WEIGHT_PITCH + depth;
#else
    return depth * WEIGHT_PITCH + column;
#endif
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
    weight_begin(local);
    matrix_begin(local);
    add_adapter(local, row, column);
    add_rest(local, row, column);

    // Matrix (row, column) of the subgroup; in variables of their own, so that they are registers everywhere.
    let at = local / LANES * BLOCK * BLOCK;
#if SIZE == 16
    begin_block(local, 0u);
    var sum00 = load_c(at);
    begin_block(local, 1u);
    var sum01 = load_c(at);
    begin_block(local, 2u);
    var sum10 = load_c(at);
    begin_block(local, 3u);
    var sum11 = load_c(at);
#else
    begin_block(local, 0u);
    var sum00 = load_c(at);
    var sum01 = load_c(at + 8u);
    var sum10 = load_c(at + 128u);
    var sum11 = load_c(at + 136u);
    begin_block(local, 1u);
    var sum02 = load_c(at);
    var sum03 = load_c(at + 8u);
    var sum12 = load_c(at + 128u);
    var sum13 = load_c(at + 136u);
    begin_block(local, 2u);
    var sum20 = load_c(at);
    var sum21 = load_c(at + 8u);
    var sum30 = load_c(at + 128u);
    var sum31 = load_c(at + 136u);
    begin_block(local, 3u);
    var sum22 = load_c(at);
    var sum23 = load_c(at + 8u);
    var sum32 = load_c(at + 128u);
    var sum33 = load_c(at + 136u);
#endif
    for (var step = 0u; step < params.inner; step += DEPTH) {
        workgroupBarrier();
        load(local, row, column, step);
        workgroupBarrier();
        for (var depth = 0u; depth < DEPTH; depth += #{SIZE}u) {
#if SIZE == 16
            let a0 = load_a(place_a(local, 0u, depth));
            let a1 = load_a(place_a(local, 1u, depth));
            let b0 = load_b(place_b(local, 0u, depth));
            let b1 = load_b(place_b(local, 1u, depth));
            sum00 = multiply_add(a0, b0, sum00);
            sum01 = multiply_add(a0, b1, sum01);
            sum10 = multiply_add(a1, b0, sum10);
            sum11 = multiply_add(a1, b1, sum11);
#else
            let a0 = load_a(place_a(local, 0u, depth));
            let a1 = load_a(place_a(local, 1u, depth));
            let a2 = load_a(place_a(local, 2u, depth));
            let a3 = load_a(place_a(local, 3u, depth));
            let b0 = load_b(place_b(local, 0u, depth));
            let b1 = load_b(place_b(local, 1u, depth));
            let b2 = load_b(place_b(local, 2u, depth));
            let b3 = load_b(place_b(local, 3u, depth));
            sum00 = multiply_add(a0, b0, sum00);
            sum01 = multiply_add(a0, b1, sum01);
            sum02 = multiply_add(a0, b2, sum02);
            sum03 = multiply_add(a0, b3, sum03);
            sum10 = multiply_add(a1, b0, sum10);
            sum11 = multiply_add(a1, b1, sum11);
            sum12 = multiply_add(a1, b2, sum12);
            sum13 = multiply_add(a1, b3, sum13);
            sum20 = multiply_add(a2, b0, sum20);
            sum21 = multiply_add(a2, b1, sum21);
            sum22 = multiply_add(a2, b2, sum22);
            sum23 = multiply_add(a2, b3, sum23);
            sum30 = multiply_add(a3, b0, sum30);
            sum31 = multiply_add(a3, b1, sum31);
            sum32 = multiply_add(a3, b2, sum32);
            sum33 = multiply_add(a3, b3, sum33);
#endif
        }
    }
    workgroupBarrier();
#if SIZE == 16
    store_c(sum00, at);
    end_block(local, row, column, 0u);
    store_c(sum01, at);
    end_block(local, row, column, 1u);
    store_c(sum10, at);
    end_block(local, row, column, 2u);
    store_c(sum11, at);
    end_block(local, row, column, 3u);
#else
    store_c(sum00, at);
    store_c(sum01, at + 8u);
    store_c(sum10, at + 128u);
    store_c(sum11, at + 136u);
    end_block(local, row, column, 0u);
    store_c(sum02, at);
    store_c(sum03, at + 8u);
    store_c(sum12, at + 128u);
    store_c(sum13, at + 136u);
    end_block(local, row, column, 1u);
    store_c(sum20, at);
    store_c(sum21, at + 8u);
    store_c(sum30, at + 128u);
    store_c(sum31, at + 136u);
    end_block(local, row, column, 2u);
    store_c(sum22, at);
    store_c(sum23, at + 8u);
    store_c(sum32, at + 128u);
    store_c(sum33, at + 136u);
    end_block(local, row, column, 3u);
#endif
}
