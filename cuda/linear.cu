// Products with a frozen weight in f32 arithmetic, for every type and shape; see shared/product.cuh.
//
// A block computes 64 x 64 of out, a thread 4 x 4 of them, walking over the inner dimension in steps of 16.
#include "shared/product.cuh"

#define TILE 64
#define STEP 16

// One step: 16 inner places of both tiles.
__device__ inline void multiply(const f32 (&rows)[STEP][TILE + 4], const f32 (&columns)[STEP][TILE + 4],
                                f32 (&sums)[4][4]) {
    u32 x = thread_index() % 16, y = thread_index() / 16;
#pragma unroll
    for (u32 k = 0; k < STEP; k++) {
        f32 left[4], right[4];
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            left[i] = rows[k][4 * y + i];
            right[i] = columns[k][4 * x + i];
        }
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
#pragma unroll
            for (u32 j = 0; j < 4; j++) sums[i][j] += left[i] * right[j];
        }
    }
}

KERNEL(256, linear, (Product product, Weight weight, Dropout dropout)) {
    __shared__ f32 row_tile[STEP][TILE + 4];
    __shared__ f32 column_tile[STEP][TILE + 4];
    const f32 *levels = weight_begin(weight);
    u32 columns = (product.outer + TILE - 1) / TILE;
    u32 first_row = block_index() / columns * TILE;
    u32 first_column = block_index() % columns * TILE;
    u32 x = thread_index() % 16, y = thread_index() / 16;
    u32 half = thread_index() / 128; // the first threads load rows, the others columns
    u32 place = thread_index() % 128;
    f32 sums[4][4] = {};

    u32 adapter_steps = (product.rank + STEP - 1) / STEP;
    u32 steps = adapter_steps + (product.inner + STEP - 1) / STEP;
    for (u32 step = 0; step < steps; step++) {
        bool adapter = step < adapter_steps;
        u32 inner = (adapter ? step : step - adapter_steps) * STEP;
        f32 values[8];
        if (half == 0) {
            u32 row = place / 2, k = place % 2 * 8;
            if (adapter) left_eight(product, first_row + row, inner + k, values);
            else input_eight(product, first_row + row, inner + k, values);
#pragma unroll
            for (u32 i = 0; i < 8; i++) row_tile[k + i][row] = values[i];
        } else {
#if FORWARD
            u32 column = place / 2, k = place % 2 * 8;
            if (adapter) right_eight(product, first_column + column, inner + k, values);
            else weight_eight(product, weight, levels, first_column + column, inner + k, values);
#pragma unroll
            for (u32 i = 0; i < 8; i++) column_tile[k + i][column] = values[i];
#else
            u32 k = place / 8, column = place % 8 * 8;
            if (adapter) right_eight(product, inner + k, first_column + column, values);
            else weight_eight(product, weight, levels, inner + k, first_column + column, values);
#pragma unroll
            for (u32 i = 0; i < 8; i++) column_tile[k][column + i] = values[i];
#endif
        }
        block_barrier();
        multiply(row_tile, column_tile, sums);
        block_barrier();
#if !FORWARD
        if (step + 1 == adapter_steps && dropout.threshold > 0) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                Factors factors = dropout_factors(dropout, first_row + 4 * y + i, (first_column + 4 * x) / 4);
#pragma unroll
                for (u32 j = 0; j < 4; j++) sums[i][j] *= factors.x[j];
            }
        }
#endif
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 j = 0; j < 4; j += 2) {
            store(product.out, product.out_type, product.bias, product.rows, product.outer, first_row + 4 * y + i,
                  first_column + 4 * x + j, sums[i][j], sums[i][j + 1]);
        }
    }
}
