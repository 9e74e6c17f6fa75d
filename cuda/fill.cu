// Every element becomes one value, given by its bits.
#include "shared/types.cuh"

KERNEL(256, fill_words, (u32 *x, u32 bits, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i < length) x[i] = bits;
}

KERNEL(256, fill_halves, (u16 *x, u32 bits, u64 length)) {
    u64 i = (u64)block_index() * 256 + thread_index();
    if (i < length) x[i] = (u16)bits;
}
