// Attention of one new token a sequence over the cache: see attention.cu for the formula. ACT is the type of
// activations. A block has one query head; its warps share the keys, and their parts are joined in order.
#include "shared/reduce.cuh"

typedef ACT act;

// Elements of the widest head (256) a lane.
#define ELEMENTS 8

KERNEL(256, attention_decode, (const act *q, // [B, Hq, D]
                               const act *k, const act *v, // [B, S, Hkv, D]
                               const u32 *lengths, // [B]
                               act *out, // [B, Hq, D]
                               u32 heads, u32 kv_heads, u32 dim, u32 capacity, u32 window, f32 scale)) {
    __shared__ f32 mosts[8], sums[8], parts[8][32 * ELEMENTS];
    u32 lane = thread_index() % 32, warp = thread_index() / 32;
    u32 sequence = block_index() / heads, head = block_index() % heads;
    u32 kv_head = head / (heads / kv_heads);
    u32 length = lengths[sequence]; // one past the cache's end counts as it does without a device
    f32 query[ELEMENTS], result[ELEMENTS] = {};
    for (u32 i = 0; i < ELEMENTS; i++) {
        u32 d = lane + 32 * i;
        query[i] = d < dim ? value_of(q[(u64)block_index() * dim + d]) : 0.0f;
    }
    f32 most = -3.0e38f, sum = 0.0f;
    u32 end = lowest(length, capacity);
    for (u64 key = (u64)(length - lowest(length, window)) + warp; key < end; key += 8) {
        u64 at = (((u64)sequence * capacity + key) * kv_heads + kv_head) * dim;
        f32 score = 0.0f;
        for (u32 i = 0; i < ELEMENTS; i++) {
            u32 d = lane + 32 * i;
            if (d < dim) score += query[i] * value_of(k[at + d]);
        }
        score = warp_sum(score) * scale;
        f32 highest = fmaxf(most, score);
        f32 shrink = expf(most - highest), weight = expf(score - highest);
        most = highest;
        sum = sum * shrink + weight;
        for (u32 i = 0; i < ELEMENTS; i++) {
            u32 d = lane + 32 * i;
            if (d < dim) result[i] = result[i] * shrink + weight * value_of(v[at + d]);
        }
    }
    for (u32 i = 0; i < ELEMENTS; i++) parts[warp][lane + 32 * i] = result[i];
    if (lane == 0) {
        mosts[warp] = most;
        sums[warp] = sum;
    }
    block_barrier();
    f32 highest = mosts[0];
    for (u32 i = 1; i < 8; i++) highest = fmaxf(highest, mosts[i]);
    f32 total = 0.0f, value = 0.0f;
    for (u32 i = 0; i < 8; i++) {
        f32 share = expf(mosts[i] - highest);
        total += sums[i] * share;
        value += parts[i][thread_index()] * share;
    }
    if (thread_index() < dim) put(out + (u64)block_index() * dim + thread_index(), total > 0.0f ? value / total : 0.0f);
}
