// Sums and maxima over a warp and over a block, in a fixed order: every thread calls, and every one gets the result.
#pragma once
#include "shared/types.cuh"

__device__ inline f32 warp_sum(f32 value) {
    for (u32 mask = 16; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}

// Of 32 values a lane, the sum over the warp of the value with the lane's number: lanes send each other the half that the
// other keeps, and halve it again.
__device__ inline f32 warp_sums(f32 (&values)[32]) {
#pragma unroll
    for (u32 half = 16; half > 0; half /= 2) {
        bool upper = thread_index() & half;
#pragma unroll
        for (u32 i = 0; i < half; i++) {
            f32 kept = upper ? values[i + half] : values[i];
            f32 sent = upper ? values[i] : values[i + half];
            values[i] = kept + shuffle_xor(sent, half);
        }
    }
    return values[0];
}

__device__ inline f32 warp_max(f32 value) {
    for (u32 mask = 16; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
    return value;
}

template <u32 THREADS> __device__ inline f32 block_sum(f32 value) {
    __shared__ f32 partial[THREADS / 32];
    value = warp_sum(value);
    if (thread_index() % 32 == 0) partial[thread_index() / 32] = value;
    block_barrier();
    f32 total = 0.0f;
    for (u32 i = 0; i < THREADS / 32; i++) total += partial[i];
    block_barrier(); // the next call writes what this one still reads
    return total;
}

template <u32 THREADS> __device__ inline f32 block_max(f32 value) {
    __shared__ f32 partial[THREADS / 32];
    value = warp_max(value);
    if (thread_index() % 32 == 0) partial[thread_index() / 32] = value;
    block_barrier();
    f32 most = partial[0];
    for (u32 i = 1; i < THREADS / 32; i++) most = fmaxf(most, partial[i]);
    block_barrier();
    return most;
}
