// Products with a frozen weight on tensor cores, with operands rounded to MMA (f16 or bf16) and f32 sums; see
// shared/product.cuh and shared/mma.cuh. W is dequantized on its way into shared memory: its dense form exists only
// there, a tile at a time.
//
// A block computes 128 x 128 of out with 8 warps of 64 x 32, walking over the inner dimension in steps of 32. While a
// step is computed, the next one's elements are on their way from memory into registers.
#include "shared/mma.cuh"
#include "shared/product.cuh"

#define TILE 128
#define STEP 32
// Rows of the tiles in shared memory are 16 bytes longer than their content, so that 8 of them lie in all banks.
#define INNER_PITCH (STEP + 8)
#define OUTER_PITCH (TILE + 8)
#if FORWARD
#define WEIGHT_TILE (TILE * INNER_PITCH)
#else
#define WEIGHT_TILE (STEP * OUTER_PITCH)
#endif

// What a thread carries of the next step: 2 runs of 8 elements of each tile.
struct Carried {
    Words input[2], weight[2];
};

// The run `i` of the thread: rows of the input's tile are 4 runs long; W's are as long in forward, and 16 in backward.
__device__ inline u32 input_row(u32 i) { return thread_index() / 4 + 64 * i; }
__device__ inline u32 input_column() { return thread_index() % 4 * 8; }
#if FORWARD
__device__ inline u32 weight_row(u32 i) { return input_row(i); }
__device__ inline u32 weight_column() { return input_column(); }
#else
__device__ inline u32 weight_row(u32 i) { return thread_index() / 16 + 16 * i; }
__device__ inline u32 weight_column() { return thread_index() % 16 * 8; }
#endif

__device__ inline void fetch(const Product &product, const Weight &weight, const f32 *levels, bool adapter, u32 inner,
                             u32 first_row, u32 first_column, Carried &carried) {
#if FORWARD
    u32 row0 = first_column, column0 = inner;
#else
    u32 row0 = inner, column0 = first_column;
#endif
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        u32 row = row0 + weight_row(i), column = column0 + weight_column();
        if (adapter) {
            f32 values[8];
            left_eight(product, first_row + input_row(i), inner + input_column(), values);
            carried.input[i] = packed(MMA(), values);
            right_eight(product, row, column, values);
            carried.weight[i] = packed(MMA(), values);
            continue;
        }
        Run run = input_run(product, first_row + input_row(i), inner + input_column());
        carried.input[i] = load_words(MMA(), product.input + run.at, run.count);
#if NF4
        f32 values[8];
        weight_eight(product, weight, levels, row, column, values);
        carried.weight[i] = packed(MMA(), values);
#else
        run = weight_run(product, row, column);
        carried.weight[i] = load_words(MMA(), (const WEIGHT *)weight.values + run.at, run.count);
#endif
    }
}

__device__ inline void keep(const Carried &carried, u16 *input_tile, u16 *weight_tile) {
#if FORWARD
    const u32 pitch = INNER_PITCH;
#else
    const u32 pitch = OUTER_PITCH;
#endif
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        *(Words *)(input_tile + input_row(i) * INNER_PITCH + input_column()) = carried.input[i];
        *(Words *)(weight_tile + weight_row(i) * pitch + weight_column()) = carried.weight[i];
    }
}

// One step of a warp: 64 rows and 32 columns from its first ones on.
__device__ inline void multiply(const u16 *input_tile, const u16 *weight_tile, u32 row, u32 column,
                                f32 (&sums)[4][4][4]) {
#pragma unroll
    for (u32 k = 0; k < STEP; k += 16) {
        u32 left[4][4], right[2][4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) load_left(left[i], input_tile + (row + 16 * i) * INNER_PITCH + k, INNER_PITCH);
#pragma unroll
        for (u32 j = 0; j < 2; j++) {
#if FORWARD
            load_right_by_column(right[j], weight_tile + (column + 16 * j) * INNER_PITCH + k, INNER_PITCH);
#else
            load_right_by_row(right[j], weight_tile + k * OUTER_PITCH + column + 16 * j, OUTER_PITCH);
#endif
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
                multiply_add(MMA(), sums[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
            }
        }
    }
}

KERNEL_BY_TWOS(256, linear_mma, (Product product, Weight weight, Dropout dropout)) {
    alignas(16) __shared__ u16 input_tile[2][TILE * INNER_PITCH];
    alignas(16) __shared__ u16 weight_tile[2][WEIGHT_TILE];
    const f32 *levels = weight_begin(weight);
    // Neighbouring blocks share rows of W: groups of 8 tiles of rows go along the columns together.
    u32 row_tiles = (product.rows + TILE - 1) / TILE;
    u32 column_tiles = (product.outer + TILE - 1) / TILE;
    u32 group = block_index() / (8 * column_tiles);
    u32 height = lowest(8, row_tiles - 8 * group);
    u32 of_group = block_index() - group * 8 * column_tiles;
    u32 first_row = (8 * group + of_group % height) * TILE;
    u32 first_column = of_group / height * TILE;
    u32 warp = thread_index() / 32;
    u32 warp_row = warp / 4 * 64, warp_column = warp % 4 * 32;
    u32 lane = thread_index() % 32;
    f32 sums[4][4][4] = {};

    u32 adapter_steps = (product.rank + STEP - 1) / STEP;
    u32 steps = adapter_steps + (product.inner + STEP - 1) / STEP;
    Carried carried;
    fetch(product, weight, levels, adapter_steps > 0, 0, first_row, first_column, carried);
    keep(carried, input_tile[0], weight_tile[0]);
    block_barrier();
    for (u32 step = 0; step < steps; step++) {
        u32 next = step + 1;
        if (next < steps) {
            bool adapter = next < adapter_steps;
            u32 inner = (adapter ? next : next - adapter_steps) * STEP;
            fetch(product, weight, levels, adapter, inner, first_row, first_column, carried);
        }
        multiply(input_tile[step % 2], weight_tile[step % 2], warp_row, warp_column, sums);
#if !FORWARD
        if (next == adapter_steps && dropout.threshold > 0) {
#pragma unroll
            for (u32 part = 0; part < 32; part++) { // two neighbours of a row
                u32 i = part / 8, j = part / 2 % 4, half = part % 2;
                u32 row = first_row + warp_row + 16 * i + 8 * half + lane / 4;
                u32 column = first_column + warp_column + 8 * j + lane % 4 * 2;
                Factors factors = dropout_factors(dropout, row, column / 4);
                bool upper = column % 4 != 0;
                sums[i][j][2 * half] *= upper ? factors.x[2] : factors.x[0];
                sums[i][j][2 * half + 1] *= upper ? factors.x[3] : factors.x[1];
            }
        }
#endif
        if (next < steps) keep(carried, input_tile[next % 2], weight_tile[next % 2]);
        block_barrier();
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            u32 row = first_row + warp_row + 16 * i + lane / 4;
            u32 column = first_column + warp_column + 8 * j + lane % 4 * 2;
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                store(product.out, product.out_type, product.bias, product.rows, product.outer, row + 8 * half, column,
                      sums[i][j][2 * half], sums[i][j][2 * half + 1]);
            }
        }
    }
}
