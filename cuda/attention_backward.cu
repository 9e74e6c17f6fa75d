// The gradients of attention.cu in f32 arithmetic. With p = exp(s - lse), dp = dout v^T and delta = sum(dout * out),
// recomputed tile by tile,
//   ds = p (dp - delta),  dq = scale ds k,  dk = scale ds^T q,  dv = p^T dout.
//
// For dq a block has TILE queries of one head and walks over the tiles of keys. For dk and dv it has TILE keys of one
// key-value head and walks over the query heads that read it, in order, and their tiles of queries: nothing is added up
// by two blocks, and there is no T x T buffer.
#include "shared/attention_tile.cuh"

// Four tiles and one of weights, in the memory that a launch sizes: see `shared_bytes` in the launcher.
#define ROWS(index) ((f32(*)[DIM + 1])(memory + (index) * TILE * (DIM + 1)))

KERNEL(256, attention_dq, (const act *q, const act *k, const act *v, const act *dout, const f32 *lse,
                           const f32 *delta, act *dq, // [B, T, Hq, D]
                           Heads shape)) {
    DYNAMIC_SHARED(f32, memory);
    f32(*queries)[DIM + 1] = ROWS(0);
    f32(*douts)[DIM + 1] = ROWS(1);
    f32(*keys)[DIM + 1] = ROWS(2);
    f32(*values)[DIM + 1] = ROWS(3);
    f32(*weights)[DIM + 1] = ROWS(4);
    u32 of_all = shape.batch * shape.heads;
    u32 tiles = (shape.time + TILE - 1) / TILE;
    u32 sequence = block_index() % of_all / shape.heads;
    u32 head = block_index() % shape.heads;
    u32 kv_head = head / (shape.heads / shape.kv_heads);
    u32 first_query = (tiles - 1 - block_index() / of_all) * TILE;
    u32 row = thread_index() / LANES, lane = thread_index() % LANES;
    u32 query = first_query + row;
    load_tile(queries, q, shape, sequence, first_query, head, shape.heads);
    load_tile(douts, dout, shape, sequence, first_query, head, shape.heads);
    u64 stat = stat_at(shape, sequence, lowest(query, shape.time - 1), head);
    f32 row_lse = lse[stat], row_delta = delta[stat];

    f32 result[DIM / LANES] = {};
    Span columns = span(shape, first_query, TILE, true);
    for (u32 first_key = columns.begin / TILE * TILE; first_key < columns.end; first_key += TILE) {
        load_tile(keys, k, shape, sequence, first_key, kv_head, shape.kv_heads);
        load_tile(values, v, shape, sequence, first_key, kv_head, shape.kv_heads);
        block_barrier();
        f32 scores[COLUMNS] = {}, dp[COLUMNS] = {};
        products(scores, queries[row], keys, lane);
        products(dp, douts[row], values, lane);
        for (u32 j = 0; j < COLUMNS; j++) {
            bool shown = visible(shape, sequence, query, first_key + lane + LANES * j);
            f32 p = shown ? expf(scores[j] * shape.scale - row_lse) : 0.0f;
            weights[row][lane + LANES * j] = p * (dp[j] - row_delta);
        }
        block_barrier();
        accumulate(result, weights[row], keys, lane);
        block_barrier(); // the tiles were read
    }
    if (query >= shape.time) return;
    u64 at = query_at(shape, sequence, query, head);
    for (u32 i = 0; i < DIM / LANES; i++) {
        u32 d = lane + LANES * i;
        if (d < shape.dim) put(dq + at + d, shape.scale * result[i]);
    }
}

KERNEL(256, attention_dk_dv, (const act *q, const act *k, const act *v, const act *dout, const f32 *lse,
                              const f32 *delta, act *dk, act *dv, // [B, T, Hkv, D]
                              Heads shape)) {
    DYNAMIC_SHARED(f32, memory);
    f32(*keys)[DIM + 1] = ROWS(0);
    f32(*values)[DIM + 1] = ROWS(1);
    f32(*queries)[DIM + 1] = ROWS(2);
    f32(*douts)[DIM + 1] = ROWS(3);
    f32(*weights)[DIM + 1] = ROWS(4); // p, and from column TILE on ds
    u32 of_all = shape.batch * shape.kv_heads;
    u32 sequence = block_index() % of_all / shape.kv_heads;
    u32 kv_head = block_index() % shape.kv_heads;
    u32 first_key = block_index() / of_all * TILE;
    u32 row = thread_index() / LANES, lane = thread_index() % LANES;
    u32 key = first_key + row;
    u32 shared_by = shape.heads / shape.kv_heads;
    load_tile(keys, k, shape, sequence, first_key, kv_head, shape.kv_heads);
    load_tile(values, v, shape, sequence, first_key, kv_head, shape.kv_heads);

    f32 of_k[DIM / LANES] = {}, of_v[DIM / LANES] = {};
    Span columns = span(shape, first_key, TILE, false);
    for (u32 head = kv_head * shared_by; head < (kv_head + 1) * shared_by; head++) {
        for (u32 first_query = columns.begin / TILE * TILE; first_query < columns.end; first_query += TILE) {
            load_tile(queries, q, shape, sequence, first_query, head, shape.heads);
            load_tile(douts, dout, shape, sequence, first_query, head, shape.heads);
            block_barrier();
            f32 scores[COLUMNS] = {}, dp[COLUMNS] = {};
            products(scores, keys[row], queries, lane);
            products(dp, values[row], douts, lane);
            for (u32 j = 0; j < COLUMNS; j++) {
                u32 query = first_query + lane + LANES * j;
                f32 p = 0.0f, ds = 0.0f;
                if (visible(shape, sequence, query, key)) {
                    u64 stat = stat_at(shape, sequence, query, head);
                    p = expf(scores[j] * shape.scale - lse[stat]);
                    ds = p * (dp[j] - delta[stat]);
                }
                weights[row][lane + LANES * j] = p;
                weights[row][TILE + lane + LANES * j] = ds;
            }
            block_barrier();
            accumulate(of_v, weights[row], douts, lane);
            accumulate(of_k, weights[row] + TILE, queries, lane);
            block_barrier(); // the tiles were read
        }
    }
    if (key >= shape.time) return;
    u64 at = key_at(shape, sequence, key, kv_head);
    for (u32 i = 0; i < DIM / LANES; i++) {
        u32 d = lane + LANES * i;
        if (d < shape.dim) {
            put(dk + at + d, shape.scale * of_k[i]);
            put(dv + at + d, of_v[i]);
        }
    }
}
