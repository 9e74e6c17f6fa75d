// The product with an adapter's thin side, out [M, r] f32:
//
//     SIDE a:  out = scale * dropout(x) A^T     x [M, K], A [r, K] f32
//     SIDE b:  out = scale * x B                x [M, K], B [K, r] f32 (K is the layer's N there)
//
// K is long and r is small, so a workgroup splits K among LANES neighbours, which read neighbouring cells of x (WIDTH
// elements each, and every element once a tile of RANKS ranks): no loop has a barrier, and one row keeps 256
// invocations busy. Each sums a tile of ROWS x RANKS in registers; the workgroup then adds up the LANES tiles of each
// of its GROUPS groups of rows. Rows and ranks past the end read the last one again, and are not written.
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
const ROWS = 4u;
const RANKS = #{RANKS}u;
const QUADS = RANKS / 4u;
#if WIDTH == 4
alias Cell = vec4<f32>;
alias Tile = mat4x4<f32>;
#else
alias Cell = f32;
alias Tile = vec4<f32>;
#endif

struct Params {
    dropout_key: vec2<u32>, // the seed's words
    dropout_step: u32, // the optimizer step
    dropout_layer: u32, // the LoRA layer
    dropout_threshold: u32, // what is below is dropped
    dropout_keep: f32, // 1 / (1 - p)
    rows: u32, // M, the rows of this binding of `x`
    first: u32, // the row of the whole `x` that row 0 is
    cells: u32, // K / WIDTH
    rank: u32, // r
    scale: f32, // on the product
}

@group(0) @binding(0) var<uniform> params: Params;
#if WIDTH == 4
@group(0) @binding(1) var<storage, read> x: array<vec4<#{ACT}>>; // [M, K]
@group(0) @binding(2) var<storage, read> matrix: array<vec4<f32>>; // A [r, K], or B [K, r]
#else
@group(0) @binding(1) var<storage, read> x: array<#{ACT}>; // [M, K]
@group(0) @binding(2) var<storage, read> matrix: array<f32>; // A [r, K], or B [K, r]
#endif
@group(0) @binding(3) var<storage, read_write> out: array<f32>; // [M, r]

fn split_place(group: u32, lane: u32) -> u32 {
    return group * LANES + lane;
}

fn x_cell(row: u32, cell: u32) -> Cell {
    let value = Cell(x[row * params.cells + cell]);
#if DROPOUT == philox && WIDTH == 4
    return value * dropout_factors(params.first + row, cell);
#elif DROPOUT == philox
    return value * dropout_factor(params.first + row, cell);
#else
    return value;
#endif
}

// The elements of ranks `rank .. rank + 4` at a cell of x: a column (or a number) a rank with side a, a row with b.
fn matrix_tile(rank: u32, cell: u32) -> Tile {
#if SIDE == a
    let last = params.rank - 1u;
    return Tile(
        matrix[min(rank, last) * params.cells + cell],
        matrix[min(rank + 1u, last) * params.cells + cell],
        matrix[min(rank + 2u, last) * params.cells + cell],
        matrix[min(rank + 3u, last) * params.cells + cell],
    );
#elif WIDTH == 4
    // Here r is a multiple of 4 too.
    let quads = params.rank / 4u;
    let quad = min(rank / 4u, quads - 1u);
    return Tile(
        matrix[(4u * cell) * quads + quad],
        matrix[(4u * cell + 1u) * quads + quad],
        matrix[(4u * cell + 2u) * quads + quad],
        matrix[(4u * cell + 3u) * quads + quad],
    );
#else
    let last = params.rank - 1u;
    let base = cell * params.rank;
    return Tile(
        matrix[base + min(rank, last)],
        matrix[base + min(rank + 1u, last)],
        matrix[base + min(rank + 2u, last)],
        matrix[base + min(rank + 3u, last)],
    );
#endif
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // The tiles of ranks of the same rows are neighbours, so that x is still in a cache for all but the first.
    let rank_tiles = (params.rank + RANKS - 1u) / RANKS;
    let index = workgroup_index(workgroup, workgroups);
    let tile_row = index / rank_tiles * (GROUPS * ROWS);
    if tile_row >= params.rows {
        return;
    }
    let tile_rank = index % rank_tiles * RANKS;
    let row = tile_row + local / LANES * ROWS;
    let lane = local % LANES;

    var sums: array<vec4<f32>, ROWS * QUADS>;
    for (var i = 0u; i < ROWS * QUADS; i++) {
        sums[i] = vec4<f32>();
    }
    for (var cell = lane; cell < params.cells; cell += LANES) {
        var values: array<Cell, ROWS>;
        for (var i = 0u; i < ROWS; i++) {
            values[i] = x_cell(min(row + i, params.rows - 1u), cell);
        }
        for (var q = 0u; q < QUADS; q++) {
            let tile = matrix_tile(tile_rank + 4u * q, cell);
            for (var i = 0u; i < ROWS; i++) {
#if SIDE == a
                sums[i * QUADS + q] += values[i] * tile;
#else
                sums[i * QUADS + q] += tile * values[i];
#endif
            }
        }
    }

    let output = split_output(local);
    for (var i = 0u; i < ROWS; i++) {
        for (var q = 0u; q < QUADS; q++) {
            for (var c = 0u; c < 4u; c++) {
                split_partial[(4u * q + c) * THREADS + local] = sums[i * QUADS + q][c];
            }
        }
        let sum = split_sum(local);
        let out_row = tile_row + output.x * ROWS + i;
        let rank = tile_rank + output.y;
        if local < SPLIT_OUTPUTS && out_row < params.rows && rank < params.rank {
            out[out_row * params.rank + rank] = params.scale * sum;
        }
    }
}
