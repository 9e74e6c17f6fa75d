// Attention (Dao, "FlashAttention-2", arXiv 2307.08691) in f32 arithmetic, for every type and head:
//   s = scale q k^T where the mask allows,  out = softmax(s) v,  lse = log(sum(exp(s))).
// Query head h reads key-value head h / (Hq / Hkv). No T x T buffer: the maximum and the sum run along.
//
// ACT is the type of activations, DIM the widest head (64, 128 or 256). A block computes TILE queries of one head of one
// sequence, walking over tiles of as many keys; LANES neighbouring threads share a query.
#include "shared/attention.cuh"
#include "shared/attention_tile.cuh"

KERNEL(256, attention, (const act *q, // [B, T, Hq, D]
                        const act *k, const act *v, // [B, T, Hkv, D]
                        act *out, // [B, T, Hq, D]
                        f32 *lse, // [B, T, Hq]
                        Heads shape)) {
    __shared__ f32 queries[TILE][DIM + 1];
    __shared__ f32 keys[TILE][DIM + 1]; // then the values
    __shared__ f32 weights[TILE][TILE + 1];
    u32 of_all = shape.batch * shape.heads;
    u32 tiles = (shape.time + TILE - 1) / TILE;
    u32 sequence = block_index() % of_all / shape.heads;
    u32 head = block_index() % shape.heads;
    u32 kv_head = head / (shape.heads / shape.kv_heads);
    // Under causality the last queries see the most keys: their blocks start first.
    u32 first_query = (tiles - 1 - block_index() / of_all) * TILE;
    u32 row = thread_index() / LANES, lane = thread_index() % LANES;
    u32 query = first_query + row;
    load_tile(queries, q, shape, sequence, first_query, head, shape.heads);

    f32 most = -3.0e38f, sum = 0.0f;
    f32 result[DIM / LANES] = {};
    Span columns = span(shape, first_query, TILE, true);
    for (u32 first_key = columns.begin / TILE * TILE; first_key < columns.end; first_key += TILE) {
        load_tile(keys, k, shape, sequence, first_key, kv_head, shape.kv_heads);
        block_barrier();
        f32 scores[COLUMNS] = {};
        products(scores, queries[row], keys, lane);
        f32 highest = most;
        for (u32 j = 0; j < COLUMNS; j++) {
            bool shown = visible(shape, sequence, query, first_key + lane + LANES * j);
            scores[j] = shown ? scores[j] * shape.scale : -3.0e38f;
            highest = fmaxf(highest, scores[j]);
        }
        for (u32 mask = LANES / 2; mask > 0; mask /= 2) highest = fmaxf(highest, shuffle_xor(highest, mask));
        f32 shrink = expf(most - highest);
        most = highest;
        f32 share = 0.0f;
        for (u32 j = 0; j < COLUMNS; j++) {
            // A row without any visible key so far has the lowest maximum. NaN is no hidden key's: it comes through.
            f32 weight = scores[j] < -2.0e38f ? 0.0f : expf(scores[j] - highest);
            weights[row][lane + LANES * j] = weight;
            share += weight;
        }
        for (u32 mask = LANES / 2; mask > 0; mask /= 2) share += shuffle_xor(share, mask);
        sum = sum * shrink + share;
        for (u32 i = 0; i < DIM / LANES; i++) result[i] *= shrink;
        block_barrier(); // the keys were read
        load_tile(keys, v, shape, sequence, first_key, kv_head, shape.kv_heads);
        block_barrier();
        accumulate(result, weights[row], keys, lane);
        block_barrier(); // the values and weights were read
    }
    if (query >= shape.time) return;
    u64 at = query_at(shape, sequence, query, head);
    for (u32 i = 0; i < DIM / LANES; i++) {
        u32 d = lane + LANES * i;
        if (d < shape.dim) put(out + at + d, result[i] / sum);
    }
    if (lane == 0) lse[stat_at(shape, sequence, query, head)] = most + logf(sum);
}
