// A frozen weight W `[N, K]` in its storage format, read in runs of eight neighbours of a row.
//
// WEIGHT is f32, f16 or bf16, or NF4 is 1 for 4-bit codes: of the flattened matrix, the element with the even index in a
// byte's high half, and a scale for each block of elements (Dettmers et al., "QLoRA", arXiv 2305.14314):
//   w[e] = levels[code[e]] * absmax[e / block], and double quantized absmax[b] = map[codes[b]] * nested[b / 256] + offset
#pragma once
#include "shared/types.cuh"

struct Weight {
    const void *values; // [N, K], or [N * K / 2] codes
    const f32 *absmax; // [blocks], or null where it is double quantized
    const u8 *codes; // [blocks]
    const f32 *nested; // [blocks / 256]
    const f32 *tables; // [16 + 256]: the values of the codes, and the signed dynamic map
    f32 offset; // the mean of the original absmax
    u32 block_shift; // log2 of the elements a block
};

#if NF4
// The values of the codes, where every thread of the block reads them fast: before anything else every thread calls
// `weight_begin`.
__device__ inline const f32 *weight_begin(const Weight &weight) {
    __shared__ f32 levels[16];
    if (thread_index() < 16) levels[thread_index()] = weight.tables[thread_index()];
    block_barrier();
    return levels;
}

__device__ inline f32 nf4_absmax(const Weight &weight, u64 element) {
    u64 block = element >> weight.block_shift;
    if (weight.absmax) return weight.absmax[block];
    return weight.tables[16 + weight.codes[block]] * weight.nested[block >> 8] + weight.offset;
}

// The first `count` of eight elements from the element `at` on; zeros after them. With ALIGNED `at` is a multiple of 8,
// and the eight are of one block.
__device__ inline void weight_eight(const Weight &weight, const f32 *levels, u64 at, u32 count, f32 (&values)[8]) {
    const u8 *bytes = (const u8 *)weight.values;
#if ALIGNED
    u32 word = count > 0 ? *(const u32 *)(bytes + at / 2) : 0;
    f32 absmax = count > 0 ? nf4_absmax(weight, at) : 0.0f;
#pragma unroll
    for (u32 i = 0; i < 8; i++) values[i] = levels[(word >> (4 * (i ^ 1))) & 15] * absmax;
#else
#pragma unroll
    for (u32 i = 0; i < 8; i++) {
        if (i < count) {
            u64 element = at + i;
            u32 code = (bytes[element / 2] >> (element % 2 == 0 ? 4 : 0)) & 15;
            values[i] = levels[code] * nf4_absmax(weight, element);
        } else {
            values[i] = 0.0f;
        }
    }
#endif
}
#else
__device__ inline const f32 *weight_begin(const Weight &) { return nullptr; }

__device__ inline void weight_eight(const Weight &weight, const f32 *, u64 at, u32 count, f32 (&values)[8]) {
    load_eight((const WEIGHT *)weight.values + at, count, values);
}
#endif
