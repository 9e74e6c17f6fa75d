// Tiles of attention on tensor cores: a block of 4 warps has 64 rows, 16 a warp, and walks over tiles of 32 columns. DIM
// is the widest head; a head is a multiple of 8. See shared/mma.cuh for which elements a lane has.
#pragma once
#include "shared/attention.cuh"
#include "shared/mma.cuh"

typedef ACT act;

#define ROW_TILE 64
#define COLUMN_TILE 32
// 16 bytes longer than the content, so that 8 rows lie in all banks.
#define PITCH (DIM + 8)

// The tokens first .. first + count of one head, of a tensor with `heads` heads; zeros past the end.
__device__ inline void load_rows(u16 *tile, u32 count, const act *x, const Heads &shape, u32 sequence, u32 first,
                                 u32 head, u32 heads) {
    for (u32 i = thread_index(); i < count * (DIM / 8); i += 128) {
        u32 token = first + i / (DIM / 8), d = i % (DIM / 8) * 8;
        u64 at = (((u64)sequence * shape.time + token) * heads + head) * shape.dim + d;
        Words words = {};
        if (token < shape.time && d < shape.dim) words = *(const Words *)(x + at);
        *(Words *)(tile + i / (DIM / 8) * PITCH + d) = words;
    }
}

// A warp's 16 rows by the tile's 32 columns, as four fragments of sums.
typedef f32 Scores[4][4];
// A warp's 16 rows by DIM elements.
typedef f32 Elements[DIM / 8][4];

// scores = rows columns^T, from the warp's first row on.
__device__ inline void scores_of(Scores &scores, const u16 *rows, const u16 *columns) {
#pragma unroll
    for (u32 j = 0; j < 4; j++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) scores[j][i] = 0.0f;
    }
#pragma unroll
    for (u32 d = 0; d < DIM; d += 16) {
        u32 left[4], right[4];
        load_left(left, rows + d, PITCH);
#pragma unroll
        for (u32 j = 0; j < 2; j++) {
            load_right_by_column(right, columns + 16 * j * PITCH + d, PITCH);
            multiply_add(act(), scores[2 * j], left, right[0], right[1]);
            multiply_add(act(), scores[2 * j + 1], left, right[2], right[3]);
        }
    }
}

// sums += weights columns: the fragments of sums are those of a left operand.
__device__ inline void accumulate(Elements &sums, const Scores &weights, const u16 *columns) {
#pragma unroll
    for (u32 k = 0; k < 2; k++) {
        u32 left[4] = {pack(act(), weights[2 * k][0], weights[2 * k][1]),
                       pack(act(), weights[2 * k][2], weights[2 * k][3]),
                       pack(act(), weights[2 * k + 1][0], weights[2 * k + 1][1]),
                       pack(act(), weights[2 * k + 1][2], weights[2 * k + 1][3])};
#pragma unroll
        for (u32 d = 0; d < DIM / 16; d++) {
            u32 right[4];
            load_right_by_row(right, columns + 16 * k * PITCH + 16 * d, PITCH);
            multiply_add(act(), sums[2 * d], left, right[0], right[1]);
            multiply_add(act(), sums[2 * d + 1], left, right[2], right[3]);
        }
    }
}

// A lane's two rows of the warp's, and its columns of the tile's: the ones that element i of fragment j is of.
__device__ inline u32 row_of(u32 i) { return thread_index() / 32 * 16 + thread_index() % 32 / 4 + i / 2 * 8; }
__device__ inline u32 column_of(u32 j, u32 i) { return 8 * j + thread_index() % 4 * 2 + i % 2; }

// Writes the warp's rows, times a factor for each of a lane's two.
__device__ inline void store_rows(act *out, const Elements &sums, const f32 (&factors)[2], const Heads &shape,
                                  u32 sequence, u32 first, u32 head, u32 heads) {
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u32 token = first + row_of(2 * half);
        if (token >= shape.time) continue;
        u64 at = (((u64)sequence * shape.time + token) * heads + head) * shape.dim;
#pragma unroll
        for (u32 j = 0; j < DIM / 8; j++) {
            u32 d = column_of(j, 0);
            if (d >= shape.dim) continue;
            *(u32 *)(out + at + d) =
                pack(act(), sums[j][2 * half] * factors[half], sums[j][2 * half + 1] * factors[half]);
        }
    }
}
