// The product of a few rows with a frozen weight, as in generation: out[M, N] = input[M, K] W^T + bias + left right^T,
// for M up to ROWS; see shared/product.cuh. Bound by reading W, which is read once and dequantized in registers.
//
// A warp computes a column of out: its lanes share the inner dimension, eight neighbours each at a time.
#define FORWARD 1
#include "shared/product.cuh"
#include "shared/reduce.cuh"

KERNEL(256, linear_few, (Product product, Weight weight)) {
    const f32 *levels = weight_begin(weight);
    u32 lane = thread_index() % 32;
    u32 column = block_index() * 8 + thread_index() / 32;
    if (column >= product.outer) return; // whole warps
    f32 sums[ROWS] = {};
    for (u32 inner = 8 * lane; inner < product.inner; inner += 256) {
        f32 values[8], of_row[8];
        weight_eight(product, weight, levels, column, inner, values);
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            input_eight(product, row, inner, of_row);
#pragma unroll
            for (u32 i = 0; i < 8; i++) sums[row] += of_row[i] * values[i];
        }
    }
    for (u32 rank = lane; rank < product.rank; rank += 32) {
        f32 right = product.right[(u64)column * product.rank + rank];
#pragma unroll
        for (u32 row = 0; row < ROWS; row++) {
            if (row < product.rows) sums[row] += product.left[(u64)row * product.rank + rank] * right;
        }
    }
#pragma unroll
    for (u32 row = 0; row < ROWS; row++) {
        f32 sum = warp_sum(sums[row]);
        // The second neighbour is another warp's: it lies past the end that is named here.
        if (lane == 0) {
            u64 first = (u64)row * product.outer;
            void *out = product.out_type == 0 ? (void *)((f32 *)product.out + first) : (void *)((u16 *)product.out + first);
            store(out, product.out_type, product.bias, row < product.rows ? 1 : 0, column + 1, 0, column, sum, 0.0f);
        }
    }
}
