// cache[b, starts[b] + t] = new[b, t] for rows of the key-value cache; rows past its end are left out. A block a row.
#include "shared/types.cuh"

KERNEL(256, cache_append, (const ACT *added, // [B, T, W]
                           const u32 *starts, // [B]
                           ACT *cache, // [B, S, W]
                           u32 time, u32 capacity, u32 width)) {
    u32 sequence = block_index() / time;
    u64 place = (u64)starts[sequence] + block_index() % time;
    if (place >= capacity) return;
    for (u32 i = thread_index(); i < width; i += 256) {
        cache[((u64)sequence * capacity + place) * width + i] = added[(u64)block_index() * width + i];
    }
}
