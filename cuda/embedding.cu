// out[m, :] = table[ids[m], :]; an id past the table gives NaN. TABLE is the table's type, ACT that of out.
#include "shared/types.cuh"

KERNEL(256, embedding, (const u32 *ids, // [M]
                        const TABLE *table, // [V, H]
                        ACT *out, // [M, H]
                        u32 vocab, u32 hidden)) {
    u32 row = block_index();
    u32 id = ids[row];
    for (u32 i = thread_index(); i < hidden; i += 256) {
        f32 value = id < vocab ? value_of(table[(u64)id * hidden + i]) : not_a_number();
        put(out + (u64)row * hidden + i, value);
    }
}
