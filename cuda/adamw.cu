// One step of AdamW in place (Loshchilov and Hutter, arXiv 1711.05101; as torch.optim.AdamW), all of it in one pass:
//   g = grad grad_scale,  m = beta1 m + rest1 g,  v = beta2 v + rest2 g^2,  p = keep p - rate m / (sqrt(v) root + eps)
// with rest = 1 - beta, keep = 1 - lr * weight_decay, rate = lr / (1 - beta1^step), root = 1 / sqrt(1 - beta2^step).
#include "shared/types.cuh"

KERNEL(256, adamw, (f32 *param, const f32 *grad, f32 *m, f32 *v, // [length]
                    u64 length, f32 grad_scale, f32 beta1, f32 rest1, f32 beta2, f32 rest2, f32 keep, f32 rate,
                    f32 root, f32 eps)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i >= length) return;
    f32 g = grad[i] * grad_scale;
    f32 first = beta1 * m[i] + rest1 * g;
    f32 second = beta2 * v[i] + rest2 * g * g;
    m[i] = first;
    v[i] = second;
    param[i] = keep * param[i] - rate * first / (sqrtf(second) * root + eps);
}
