// An adapter matrix's gradient, added to what `grad` holds: a sum over the rows of both operands, in a fixed order.
//
//     A:  grad [r, K] += thin^T dropout(wide)     thin [M, r] f32, wide [M, K]
//     B:  grad [K, r] += wide^T thin              (K is the layer's N there)
//
// A workgroup has GROUPS neighbouring cells of columns (WIDTH each) and a tile of RANKS ranks, and splits the rows among
// LANES: lane l sums rows l, l + LANES, ... of WIDTH x RANKS outputs in registers, then the workgroup adds up the lanes.
// So no loop has a barrier, nothing but `grad` is written, and one invocation adds to each of its elements.
#if ACT == f16
enable f16;
#endif
#import grid
#import split_sum
#if DROPOUT == philox
#import philox
#endif

const THREADS = 256u;
const LANES = #{LANES}u;
const GROUPS = THREADS / LANES;
const WIDTH = #{WIDTH}u;
const RANKS = #{RANKS}u;
const QUADS = RANKS / 4u;
#if WIDTH == 4
alias Cell = vec4<f32>;
#else
alias Cell = f32;
#endif

struct Params {
    dropout_key: vec2<u32>, // the seed's words
    dropout_step: u32, // the optimizer step
    dropout_layer: u32, // the LoRA layer
    dropout_threshold: u32, // what is below is dropped
    dropout_keep: f32, // 1 / (1 - p)
    rows: u32, // M, the rows of these bindings of `thin` and `wide`
    first: u32, // the row of the whole matrices that row 0 is
    cells: u32, // K / WIDTH
    rank: u32, // r
    rank_stride: u32, // from a rank to the next in `grad`: K for A, 1 for B
    column_stride: u32, // from a column to the next in `grad`: 1 for A, r for B
}

@group(0) @binding(0) var<uniform> params: Params;
#if WIDTH == 4
@group(0) @binding(1) var<storage, read> thin: array<vec4<f32>>; // [M, r]
@group(0) @binding(2) var<storage, read> wide: array<vec4<#{ACT}>>; // [M, K]
#else
@group(0) @binding(1) var<storage, read> thin: array<f32>; // [M, r]
@group(0) @binding(2) var<storage, read> wide: array<#{ACT}>; // [M, K]
#endif
@group(0) @binding(3) var<storage, read_write> grad: array<f32>; // A [r, K], or B [K, r]

// Lanes are strided, so that neighbours read neighbouring cells of a row.
fn split_place(group: u32, lane: u32) -> u32 {
    return lane * GROUPS + group;
}

fn wide_cell(row: u32, cell: u32) -> Cell {
    let value = Cell(wide[row * params.cells + cell]);
#if DROPOUT == philox && WIDTH == 4
    return value * dropout_factors(params.first + row, cell);
#elif DROPOUT == philox
    return value * dropout_factor(params.first + row, cell);
#else
    return value;
#endif
}

// Ranks `rank .. rank + 4` of a row; those past the end are the last one again, and are not written.
fn thin_quad(row: u32, rank: u32) -> vec4<f32> {
#if WIDTH == 4
    // Here r is a multiple of 4 too.
    let quads = params.rank / 4u;
    return thin[row * quads + min(rank / 4u, quads - 1u)];
#else
    let base = row * params.rank;
    let last = params.rank - 1u;
    return vec4<f32>(
        thin[base + min(rank, last)],
        thin[base + min(rank + 1u, last)],
        thin[base + min(rank + 2u, last)],
        thin[base + min(rank + 3u, last)],
    );
#endif
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rank_tiles = (params.rank + RANKS - 1u) / RANKS;
    let index = workgroup_index(workgroup, workgroups);
    let tile_cell = index / rank_tiles * GROUPS;
    if tile_cell >= params.cells {
        return;
    }
    let tile_rank = index % rank_tiles * RANKS;
    let cell = min(tile_cell + local % GROUPS, params.cells - 1u);

    var sums: array<vec4<f32>, WIDTH * QUADS>;
    for (var i = 0u; i < WIDTH * QUADS; i++) {
        sums[i] = vec4<f32>();
    }
    for (var row = local / GROUPS; row < params.rows; row += LANES) {
        let value = wide_cell(row, cell);
        for (var q = 0u; q < QUADS; q++) {
            let ranks = thin_quad(row, tile_rank + 4u * q);
#if WIDTH == 4
            sums[q] += value.x * ranks;
            sums[QUADS + q] += value.y * ranks;
            sums[2u * QUADS + q] += value.z * ranks;
            sums[3u * QUADS + q] += value.w * ranks;
#else
            sums[q] += value * ranks;
#endif
        }
    }

    let output = split_output(local);
    for (var i = 0u; i < WIDTH; i++) {
        for (var q = 0u; q < QUADS; q++) {
            for (var c = 0u; c < 4u; c++) {
                split_partial[(4u * q + c) * THREADS + local] = sums[i * QUADS + q][c];
            }
        }
        let sum = split_sum(local);
        let column = (tile_cell + output.x) * WIDTH + i;
        let rank = tile_rank + output.y;
        if local < SPLIT_OUTPUTS && column < params.cells * WIDTH && rank < params.rank {
            grad[column * params.column_stride + rank * params.rank_stride] += sum;
        }
    }
}
