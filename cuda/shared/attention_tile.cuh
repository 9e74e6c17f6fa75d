// Tiles of attention in f32: TILE rows and as many columns in shared memory; a row's LANES threads have each every
// LANES-th of its columns and of its elements.
#pragma once
#include "shared/attention.cuh"

typedef ACT act;

#define TILE (DIM > 128 ? 16 : 32)
#define LANES (256 / TILE)
#define COLUMNS (TILE / LANES)

// TILE tokens of one head from `first` on, of a tensor with `heads` heads; zeros past the end.
__device__ inline void load_tile(f32 (*tile)[DIM + 1], const act *x, const Heads &shape, u32 sequence, u32 first,
                                 u32 head, u32 heads) {
    for (u32 i = thread_index(); i < TILE * DIM; i += 256) {
        u32 token = first + i / DIM, d = i % DIM;
        bool inside = token < shape.time && d < shape.dim;
        u64 at = (((u64)sequence * shape.time + token) * heads + head) * shape.dim + d;
        tile[i / DIM][d] = inside ? value_of(x[at]) : 0.0f;
    }
}

// sums[j] += row . columns[lane + LANES j]
__device__ inline void products(f32 (&sums)[COLUMNS], const f32 *row, const f32 (*columns)[DIM + 1], u32 lane) {
    for (u32 d = 0; d < DIM; d++) {
#pragma unroll
        for (u32 j = 0; j < COLUMNS; j++) sums[j] += row[d] * columns[lane + LANES * j][d];
    }
}

// sums[i] += sum over the columns of weights[column] columns[column][lane + LANES i]
__device__ inline void accumulate(f32 (&sums)[DIM / LANES], const f32 *weights, const f32 (*columns)[DIM + 1],
                                  u32 lane) {
    for (u32 j = 0; j < TILE; j++) {
#pragma unroll
        for (u32 i = 0; i < DIM / LANES; i++) sums[i] += weights[j] * columns[j][lane + LANES * i];
    }
}
