// What the kernels of frozen linear layers share: where their operands are read.
//
//   forward:  out[M, N] = input[M, K] W^T + bias + left[M, r] right[N, r]^T
//   backward: out[M, K] = input[M, N] W + mask (left[M, r] right[r, K])
//
// `inner` is the dimension that is summed over, `outer` that of out's columns. The adapter's product comes first in the
// sums: its ranks are summed over like the inner dimension, and the mask is applied before W's part is added. The thin
// sums are therefore exact to the kernel's type, and cost what a few more columns of the inner dimension would.
//
// FORWARD 1 or 0, INPUT the type of input; WEIGHT, NF4 and ALIGNED as in weight.cuh. out's type is a parameter.
#pragma once
#include "shared/philox.cuh"
#include "shared/weight.cuh"

struct Product {
    const INPUT *input;
    void *out;
    u32 out_type; // 0 f32, 1 f16, 2 bf16
    u32 rows, inner, outer;
    const f32 *bias; // [N], or null
    const f32 *left; // [M, r], or null
    const f32 *right;
    u32 rank; // 0 without an adapter
};

// A run of up to eight neighbours.
struct Run {
    u64 at; // the first element
    u32 count;
};

// Of input's row from an inner place on.
__device__ inline Run input_run(const Product &product, u32 row, u32 inner) {
    u32 count = row < product.rows && inner < product.inner ? lowest(product.inner - inner, 8) : 0;
    return Run{(u64)row * product.inner + inner, count};
}
__device__ inline void input_eight(const Product &product, u32 row, u32 inner, f32 (&values)[8]) {
    Run run = input_run(product, row, inner);
    load_eight(product.input + run.at, run.count, values);
}

// Of a row of W from a column on. In forward W's rows are the columns of out, in backward the inner places.
__device__ inline Run weight_run(const Product &product, u32 row, u32 column) {
#if FORWARD
    u32 rows = product.outer, columns = product.inner;
#else
    u32 rows = product.inner, columns = product.outer;
#endif
    u32 count = row < rows && column < columns ? lowest(columns - column, 8) : 0;
    return Run{(u64)row * columns + column, count};
}
__device__ inline void weight_eight(const Product &product, const Weight &weight, const f32 *levels, u32 row,
                                    u32 column, f32 (&values)[8]) {
    Run run = weight_run(product, row, column);
    weight_eight(weight, levels, run.at, run.count, values);
}

// Eight elements of the adapter's left factor from a rank on.
__device__ inline void left_eight(const Product &product, u32 row, u32 rank, f32 (&values)[8]) {
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        bool inside = row < product.rows && rank + i < product.rank;
        values[i] = inside ? product.left[(u64)row * product.rank + rank + i] : 0.0f;
    }
}

// Eight elements of the adapter's right factor, in the order of W.
__device__ inline void right_eight(const Product &product, u32 row, u32 column, f32 (&values)[8]) {
#if FORWARD
    u32 rows = product.outer, columns = product.rank;
#else
    u32 rows = product.rank, columns = product.outer;
#endif
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        bool inside = row < rows && column + i < columns;
        values[i] = inside ? product.right[(u64)row * columns + column + i] : 0.0f;
    }
}

// Writes two neighbours of out, with the bias.
__device__ NOINLINE void store(void *out, u32 out_type, const f32 *bias, u32 rows, u32 outer, u32 row, u32 column,
                               f32 first, f32 second) {
    if (row >= rows) return;
    f32 values[2] = {first, second};
#pragma unroll
    for (u32 i = 0; i < 2; i++) {
        if (column + i >= outer) return;
        f32 value = bias ? values[i] + bias[column + i] : values[i];
        u64 at = (u64)row * outer + column + i;
        if (out_type == 0) put((f32 *)out + at, value);
        else if (out_type == 1) put((f16 *)out + at, value);
        else put((bf16 *)out + at, value);
    }
}
