// delta = sum(dout * out) of each query and head, which attention's gradients need: a warp each.
#include "shared/reduce.cuh"

KERNEL(256, attention_delta, (const ACT *out, const ACT *dout, // [B, T, Hq, D]
                              f32 *delta, // [B, T, Hq]
                              u64 rows, u32 dim)) {
    u64 row = (u64)block_index() * 8 + thread_index() / 32;
    if (row >= rows) return; // whole warps
    f32 sum = 0.0f;
    for (u32 d = thread_index() % 32; d < dim; d += 32) sum += value_of(out[row * dim + d]) * value_of(dout[row * dim + d]);
    sum = warp_sum(sum);
    if (thread_index() % 32 == 0) delta[row] = sum;
}
