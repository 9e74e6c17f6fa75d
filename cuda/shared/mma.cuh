// Tensor cores: the fragments of mma.m16n8k16 with f16 or bf16 operands (MMA) and f32 sums, as the PTX ISA lays them out
// over a warp (sections "Matrix Fragments for mma.m16n8k16" and "ldmatrix").
//
// Lane l has g = l / 4 and t = l % 4. Of the left operand, 16 x 16: word 0 is row g, columns 2t and 2t + 1; word 1 the
// same of row g + 8; words 2 and 3 those of columns 8 higher. Of the right operand, 16 x 8: word 0 is rows 2t and 2t + 1
// of column g; word 1 those 8 rows further down. Of the sums, 16 x 8: 0 and 1 are row g, columns 2t and 2t + 1; 2 and 3
// the same of row g + 8.
#pragma once
#include "shared/types.cuh"

#ifndef EMULATED
// Two values as one word, the first in its low half.
__device__ inline u32 pack(f16, f32 low, f32 high) {
    u32 word;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}
__device__ inline u32 pack(bf16, f32 low, f32 high) {
    u32 word;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
    return word;
}

// Four 8 x 8 matrices of 16-bit elements from shared memory: lanes 8i .. 8i + 8 name the rows of matrix i, and word i
// becomes elements 2t and 2t + 1 of its row g.
__device__ inline void load_matrices(u32 (&words)[4], const u16 *row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address) : "memory");
}
// The same transposed: elements of rows 2t and 2t + 1 in column g.
__device__ inline void load_transposed(u32 (&words)[4], const u16 *row) {
    u32 address = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address) : "memory");
}

// sums += left right. All lanes take part: as volatile it stays out of branches that only some of them take.
__device__ inline void multiply_add(f16, f32 (&sums)[4], const u32 (&left)[4], u32 right0, u32 right1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}
__device__ inline void multiply_add(bf16, f32 (&sums)[4], const u32 (&left)[4], u32 right0, u32 right1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(left[0]), "r"(left[1]), "r"(left[2]), "r"(left[3]), "r"(right0), "r"(right1));
}
#endif

// Four words in shared memory, written at once.
struct alignas(16) Words {
    u32 x[4];
};

// Eight values as four words.
template <class T> __device__ inline Words packed(T type, const f32 (&values)[8]) {
    Words words;
#pragma unroll
    for (u32 i = 0; i < 4; i++) words.x[i] = pack(type, values[2 * i], values[2 * i + 1]);
    return words;
}

// The first `count` of eight elements from `at` on as four words; zeros after them. ALIGNED as in types.cuh. What has the
// operands' type already is copied.
template <class M, class T> __device__ inline Words load_words(M type, const T *at, u32 count) {
    f32 values[8];
    load_eight(at, count, values);
    return packed(type, values);
}
template <class M> __device__ inline Words load_words(M, const M *at, u32 count) {
    Words words = {};
#if ALIGNED
    if (count > 0) words = *(const Words *)at;
#else
#pragma unroll
    for (u32 i = 0; i < 8; i++) words.x[i / 2] |= i < count ? (u32)at[i].bits << (i % 2 * 16) : 0;
#endif
    return words;
}

// The left operand's fragment from a tile in shared memory: 16 rows from `tile` on, 16 columns.
__device__ inline void load_left(u32 (&words)[4], const u16 *tile, u32 pitch) {
    u32 lane = thread_index() % 32;
    load_matrices(words, tile + (lane % 16) * pitch + lane / 16 * 8);
}
// The right operands' fragments of 16 columns of out, from a tile that has out's columns as its rows: words 0 and 1 are
// the first 8 columns', 2 and 3 the other 8's.
__device__ inline void load_right_by_column(u32 (&words)[4], const u16 *tile, u32 pitch) {
    u32 lane = thread_index() % 32;
    load_matrices(words, tile + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8);
}
// The same from a tile that has the inner places as its rows.
__device__ inline void load_right_by_row(u32 (&words)[4], const u16 *tile, u32 pitch) {
    u32 lane = thread_index() % 32;
    load_transposed(words, tile + (lane % 16) * pitch + lane / 16 * 8);
}
