// Elementwise operations; ACT is the type of activations.
#include "shared/types.cuh"

typedef ACT act;

// out = a + b, which may be in place
KERNEL(256, add, (const act *a, const act *b, act *out, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i < length) put(out + i, value_of(a[i]) + value_of(b[i]));
}

// x = x * factor
KERNEL(256, scale, (act *x, f32 factor, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i < length) put(x + i, value_of(x[i]) * factor);
}
