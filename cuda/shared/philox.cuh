// Counter-based inverted dropout, bit for bit as crates/engine/src/dropout.rs: Philox4x32-10 (Salmon et al., "Parallel
// random numbers: as easy as 1, 2, 3", SC 2011). The mask is a function of seed, step, layer and element, so it is
// never stored.
#pragma once
#include "shared/types.cuh"

struct Dropout {
    u32 key_low, key_high; // the seed
    u32 step, layer;
    u32 threshold; // an element is dropped when its random word is below this; 0 drops none
    f32 keep; // the factor of kept elements, 1 / (1 - p)
};

struct Factors {
    f32 x[4];
};

// The factors of columns `4 * quad .. 4 * quad + 4` of a row: 0 or `keep`.
__device__ NOINLINE Factors philox_factors(u32 key_low, u32 key_high, u32 step, u32 layer, u32 threshold, f32 keep,
                                            u32 row, u32 quad) {
    u32 counter[4] = {row, quad, step, layer};
    u32 key[2] = {key_low, key_high};
    for (u32 round = 0; round < 10; round++) {
        u32 high0 = high_product(0xD2511F53u, counter[0]);
        u32 low0 = 0xD2511F53u * counter[0];
        u32 high1 = high_product(0xCD9E8D57u, counter[2]);
        u32 low1 = 0xCD9E8D57u * counter[2];
        counter[0] = high1 ^ counter[1] ^ key[0];
        counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ key[1];
        counter[3] = low0;
        key[0] += 0x9E3779B9u;
        key[1] += 0xBB67AE85u;
    }
    Factors factors;
    for (u32 i = 0; i < 4; i++) factors.x[i] = counter[i] < threshold ? 0.0f : keep;
    return factors;
}
__device__ inline Factors dropout_factors(const Dropout &dropout, u32 row, u32 quad) {
    if (dropout.threshold == 0) return Factors{{1.0f, 1.0f, 1.0f, 1.0f}};
    return philox_factors(dropout.key_low, dropout.key_high, dropout.step, dropout.layer, dropout.threshold,
                          dropout.keep, row, quad);
}

// The factor of one element. Four neighbours cost as much: see `dropout_factors`.
__device__ inline f32 dropout_factor(const Dropout &dropout, u32 row, u32 column) {
    Factors factors = dropout_factors(dropout, row, column / 4);
    f32 low = column % 2 == 0 ? factors.x[0] : factors.x[1];
    f32 high = column % 2 == 0 ? factors.x[2] : factors.x[3];
    return column % 4 < 2 ? low : high;
}
