// SwiGLU (Shazeer, arXiv 2002.05202): out = silu(gate) up, and with s = sigmoid(gate)
//   dup = dy gate s,  dgate = dy up s (1 + gate (1 - s)).
#include "shared/types.cuh"

typedef ACT act;

__device__ inline f32 sigmoid(f32 x) { return 1.0f / (1.0f + expf(-x)); }

KERNEL(256, swiglu, (const act *gate, const act *up, act *out, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i >= length) return;
    f32 g = value_of(gate[i]);
    put(out + i, g * sigmoid(g) * value_of(up[i]));
}

KERNEL(256, swiglu_backward, (const act *gate, const act *up, const act *dy, act *dgate, act *dup, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i >= length) return;
    f32 g = value_of(gate[i]);
    f32 s = sigmoid(g);
    f32 d = value_of(dy[i]);
    put(dgate + i, d * value_of(up[i]) * s * (1.0f + g * (1.0f - s)));
    put(dup + i, d * g * s);
}
