// out[row, column + c] = the sum of x, or of x squared, over chunk c of the row: x [R, C], out [R, S]. A block a chunk.
#include "shared/reduce.cuh"

KERNEL(256, reduce, (const f32 *x, f32 *out, u64 columns, u32 chunk, u32 chunks, u32 out_columns, u32 column,
                     u32 square)) {
    u32 row = block_index() / chunks;
    u32 of_row = block_index() % chunks;
    u64 begin = (u64)of_row * chunk;
    u64 end = begin + chunk < columns ? begin + chunk : columns;
    f32 sum = 0.0f;
    for (u64 i = begin + thread_index(); i < end; i += 256) {
        f32 value = x[row * columns + i];
        sum += square ? value * value : value;
    }
    sum = block_sum<256>(sum);
    if (thread_index() == 0) out[(u64)row * out_columns + column + of_row] = sum;
}
