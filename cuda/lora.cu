// The products with an adapter's thin matrices (Hu et al., "LoRA", arXiv 2106.09685). ACT is the type of activations.
//
// An adapter's matrix lies as A [r, K] or as B [N, r]; element (rank, column) of either is at
// `rank * rank_stride + column * column_stride`.
#include "shared/philox.cuh"
#include "shared/reduce.cuh"

typedef ACT act;

// Rows and ranks that a block of `lora_down` computes: 32 sums, one a lane of a warp.
#define ROWS 4
#define RANKS 8

// out[m, rank] = scale * sum over the columns of dropout(x)[m, column] matrix[rank, column].
// A block has ROWS rows and RANKS ranks; its threads share the columns, four neighbours each at a time.
KERNEL(256, lora_down, (const act *x, // [M, C]
                        const f32 *matrix, f32 *out, // [M, r]
                        u32 rows, u32 columns, u32 rank, u32 rank_stride, u32 column_stride, f32 scale,
                        Dropout dropout)) {
    u32 groups = (rank + RANKS - 1) / RANKS;
    u32 first_row = block_index() / groups * ROWS;
    u32 first_rank = block_index() % groups * RANKS;
    u32 count = lowest(RANKS, rank - first_rank);
    f32 sums[ROWS][RANKS] = {};
    for (u32 quad = thread_index(); 4 * quad < columns; quad += 256) {
        f32 values[ROWS][4] = {};
        for (u32 i = 0; i < ROWS; i++) {
            u32 row = first_row + i;
            if (row >= rows) continue;
            Factors factors = dropout_factors(dropout, row, quad);
            for (u32 j = 0; j < 4; j++) {
                u32 column = 4 * quad + j;
                if (column < columns) values[i][j] = factors.x[j] * value_of(x[(u64)row * columns + column]);
            }
        }
        for (u32 j = 0; j < 4; j++) {
            u32 column = lowest(4 * quad + j, columns - 1); // past the end the value is 0
#pragma unroll
            for (u32 k = 0; k < RANKS; k++) {
                u32 of = first_rank + lowest(k, count - 1);
                f32 weight = matrix[(u64)of * rank_stride + (u64)column * column_stride];
#pragma unroll
                for (u32 i = 0; i < ROWS; i++) sums[i][k] += values[i][j] * weight;
            }
        }
    }
    __shared__ f32 partial[8][ROWS * RANKS];
    f32 flat[ROWS * RANKS];
#pragma unroll
    for (u32 i = 0; i < ROWS * RANKS; i++) flat[i] = sums[i / RANKS][i % RANKS];
    partial[thread_index() / 32][thread_index() % 32] = warp_sums(flat);
    block_barrier();
    if (thread_index() >= ROWS * RANKS) return;
    u32 row = first_row + thread_index() / RANKS;
    u32 k = thread_index() % RANKS;
    f32 sum = 0.0f;
    for (u32 warp = 0; warp < 8; warp++) sum += partial[warp][thread_index()];
    if (row < rows && k < count) out[(u64)row * rank + first_rank + k] = scale * sum;
}

// Ranks that a block of `lora_grad` computes.
#define GRAD_RANKS 16

// grad[rank, column] += sum over m of thin[m, rank] dropout(wide)[m, column].
// A block has 32 columns and GRAD_RANKS ranks; its 8 warps share the rows, and their sums are added in order.
KERNEL(256, lora_grad, (const f32 *thin, // [M, r]
                        const act *wide, // [M, C]
                        f32 *grad, u32 rows, u32 columns, u32 rank, u32 rank_stride, u32 column_stride,
                        Dropout dropout)) {
    u32 groups = (rank + GRAD_RANKS - 1) / GRAD_RANKS;
    u32 lane = thread_index() % 32;
    u32 warp = thread_index() / 32;
    u32 column = block_index() / groups * 32 + lane;
    u32 first_rank = block_index() % groups * GRAD_RANKS;
    u32 count = lowest(GRAD_RANKS, rank - first_rank);
    f32 sums[GRAD_RANKS] = {};
    for (u32 row = warp; row < rows; row += 8) {
        f32 value = 0.0f;
        if (column < columns) value = value_of(wide[(u64)row * columns + column]) * dropout_factor(dropout, row, column);
#pragma unroll
        for (u32 k = 0; k < GRAD_RANKS; k++) {
            if (k < count) sums[k] += value * thin[(u64)row * rank + first_rank + k];
        }
    }
    __shared__ f32 partial[8][GRAD_RANKS][32];
#pragma unroll
    for (u32 k = 0; k < GRAD_RANKS; k++) partial[warp][k][lane] = sums[k];
    block_barrier();
    for (u32 k = warp; k < count; k += 8) {
        f32 sum = 0.0f;
        for (u32 i = 0; i < 8; i++) sum += partial[i][k][lane];
        if (column < columns) grad[(u64)(first_rank + k) * rank_stride + (u64)column * column_stride] += sum;
    }
}
