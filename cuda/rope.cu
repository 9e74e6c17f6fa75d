// Rotary embedding in the half-split layout (Su et al., arXiv 2104.09864): with c = table[p, i] and
// s = sign * table[p, R/2 + i] at p = positions[m], for i < R/2
//   out[i] = x[i] c - x[i + R/2] s,  out[i + R/2] = x[i + R/2] c + x[i] s
// and elements from R on are copied. sign -1 is the gradient. A position past the table gives NaN. A block a token.
#include "shared/types.cuh"

typedef ACT act;

KERNEL(256, rope, (const act *x, // [M, H, D]
                   const u32 *positions, // [M]
                   const f32 *table, // [P, R]
                   act *out, // [M, H, D]
                   u32 places, u32 rotary, u32 width, // width is H * D
                   u32 dim, f32 sign)) {
    u32 place = positions[block_index()];
    u64 start = (u64)block_index() * width;
    u32 half = rotary / 2;
    for (u32 i = thread_index(); i < width; i += 256) {
        u32 d = i % dim;
        f32 value = value_of(x[start + i]);
        if (place >= places) {
            value = not_a_number();
        } else if (d < rotary) {
            u32 pair = d < half ? d : d - half;
            f32 cosine = table[(u64)place * rotary + pair];
            f32 sine = sign * table[(u64)place * rotary + half + pair];
            f32 other = value_of(x[d < half ? start + i + half : start + i - half]);
            value = d < half ? value * cosine - other * sine : value * cosine + other * sine;
        }
        put(out + start + i, value);
    }
}
