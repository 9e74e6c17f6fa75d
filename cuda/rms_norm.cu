// RMSNorm (Zhang and Sennrich, arXiv 1910.07467), a block a row:
//   r = 1 / sqrt(mean(x^2) + eps),  y = x r w
// and its gradient in x: with g = dy w, dx = r (g - x r^2 mean(g x)). ACT is the type of activations.
#include "shared/reduce.cuh"

typedef ACT act;

__device__ inline f32 reciprocal_rms(const act *x, u32 columns, f32 eps) {
    f32 sum = 0.0f;
    for (u32 i = thread_index(); i < columns; i += 256) sum += value_of(x[i]) * value_of(x[i]);
    return 1.0f / sqrtf(block_sum<256>(sum) / (f32)columns + eps);
}

KERNEL(256, rms_norm, (const act *x, // [M, H]
                       const f32 *weight, // [H]
                       act *y, // [M, H]
                       u32 columns, f32 eps)) {
    u64 start = (u64)block_index() * columns;
    f32 rstd = reciprocal_rms(x + start, columns, eps);
    for (u32 i = thread_index(); i < columns; i += 256) put(y + start + i, value_of(x[start + i]) * rstd * weight[i]);
}

KERNEL(256, rms_norm_backward, (const act *x, // [M, H]
                                const f32 *weight, // [H]
                                const act *dy, // [M, H]
                                act *dx, // [M, H]
                                u32 columns, f32 eps)) {
    u64 start = (u64)block_index() * columns;
    f32 rstd = reciprocal_rms(x + start, columns, eps);
    f32 sum = 0.0f;
    for (u32 i = thread_index(); i < columns; i += 256) {
        sum += value_of(dy[start + i]) * weight[i] * value_of(x[start + i]);
    }
    f32 shared = rstd * rstd * block_sum<256>(sum) / (f32)columns;
    for (u32 i = thread_index(); i < columns; i += 256) {
        f32 g = value_of(dy[start + i]) * weight[i];
        put(dx + start + i, rstd * (g - value_of(x[start + i]) * shared));
    }
}
