// The gradients of attention as in attention_backward.cu on tensor cores, for f16 and bf16 and heads of up to 128 elements
// in multiples of 8: p and ds are rounded to ACT for the products with dout, q and k; all sums are f32.
#include "shared/attention_mma.cuh"

// Two tiles of rows and two of columns, in the memory that a launch sizes.
#define ROWS(index) (memory + (index) * ROW_TILE * PITCH)
#define COLUMNS(index) (memory + (2 * ROW_TILE + (index) * COLUMN_TILE) * PITCH)

KERNEL(128, attention_mma_dq, (const act *q, const act *k, const act *v, const act *dout, const f32 *lse,
                               const f32 *delta, act *dq, // [B, T, Hq, D]
                               Heads shape)) {
    DYNAMIC_SHARED(u16, memory);
    u16 *queries = ROWS(0), *douts = ROWS(1), *keys = COLUMNS(0), *values = COLUMNS(1);
    u32 of_all = shape.batch * shape.heads;
    u32 tiles = (shape.time + ROW_TILE - 1) / ROW_TILE;
    u32 sequence = block_index() % of_all / shape.heads;
    u32 head = block_index() % shape.heads;
    u32 kv_head = head / (shape.heads / shape.kv_heads);
    u32 first_query = (tiles - 1 - block_index() / of_all) * ROW_TILE;
    u32 warp = thread_index() / 32 * 16 * PITCH;
    load_rows(queries, ROW_TILE, q, shape, sequence, first_query, head, shape.heads);
    load_rows(douts, ROW_TILE, dout, shape, sequence, first_query, head, shape.heads);
    f32 row_lse[2], row_delta[2];
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        u64 stat = stat_at(shape, sequence, lowest(first_query + row_of(2 * half), shape.time - 1), head);
        row_lse[half] = lse[stat];
        row_delta[half] = delta[stat];
    }

    Elements result = {};
    Span columns = span(shape, first_query, ROW_TILE, true);
    for (u32 first_key = columns.begin / COLUMN_TILE * COLUMN_TILE; first_key < columns.end; first_key += COLUMN_TILE) {
        load_rows(keys, COLUMN_TILE, k, shape, sequence, first_key, kv_head, shape.kv_heads);
        load_rows(values, COLUMN_TILE, v, shape, sequence, first_key, kv_head, shape.kv_heads);
        block_barrier();
        Scores scores, dp;
        scores_of(scores, queries + warp, keys);
        scores_of(dp, douts + warp, values);
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                bool shown = visible(shape, sequence, first_query + row_of(i), first_key + column_of(j, i));
                f32 p = shown ? expf(scores[j][i] * shape.scale - row_lse[i / 2]) : 0.0f;
                scores[j][i] = p * (dp[j][i] - row_delta[i / 2]);
            }
        }
        accumulate(result, scores, keys);
        block_barrier(); // the tiles were read
    }
    f32 factors[2] = {shape.scale, shape.scale};
    store_rows(dq, result, factors, shape, sequence, first_query, head, shape.heads);
}

KERNEL(128, attention_mma_dk_dv, (const act *q, const act *k, const act *v, const act *dout, const f32 *lse,
                                  const f32 *delta, act *dk, act *dv, // [B, T, Hkv, D]
                                  Heads shape)) {
    DYNAMIC_SHARED(u16, memory);
    u16 *keys = ROWS(0), *values = ROWS(1), *queries = COLUMNS(0), *douts = COLUMNS(1);
    u32 of_all = shape.batch * shape.kv_heads;
    u32 sequence = block_index() % of_all / shape.kv_heads;
    u32 kv_head = block_index() % shape.kv_heads;
    u32 first_key = block_index() / of_all * ROW_TILE;
    u32 warp = thread_index() / 32 * 16 * PITCH;
    u32 shared_by = shape.heads / shape.kv_heads;
    load_rows(keys, ROW_TILE, k, shape, sequence, first_key, kv_head, shape.kv_heads);
    load_rows(values, ROW_TILE, v, shape, sequence, first_key, kv_head, shape.kv_heads);

    Elements of_k = {}, of_v = {};
    Span columns = span(shape, first_key, ROW_TILE, false);
    for (u32 head = kv_head * shared_by; head < (kv_head + 1) * shared_by; head++) {
        for (u32 first_query = columns.begin / COLUMN_TILE * COLUMN_TILE; first_query < columns.end;
             first_query += COLUMN_TILE) {
            load_rows(queries, COLUMN_TILE, q, shape, sequence, first_query, head, shape.heads);
            load_rows(douts, COLUMN_TILE, dout, shape, sequence, first_query, head, shape.heads);
            block_barrier();
            Scores scores, dp;
            scores_of(scores, keys + warp, queries);
            scores_of(dp, values + warp, douts);
#pragma unroll
            for (u32 j = 0; j < 4; j++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) {
                    u32 query = first_query + column_of(j, i);
                    f32 p = 0.0f, ds = 0.0f;
                    if (visible(shape, sequence, query, first_key + row_of(i))) {
                        u64 stat = stat_at(shape, sequence, query, head);
                        p = expf(scores[j][i] * shape.scale - lse[stat]);
                        ds = p * (dp[j][i] - delta[stat]);
                    }
                    scores[j][i] = p;
                    dp[j][i] = ds;
                }
            }
            accumulate(of_v, scores, douts);
            accumulate(of_k, dp, queries);
            block_barrier(); // the tiles were read
        }
    }
    f32 scale[2] = {shape.scale, shape.scale}, one[2] = {1.0f, 1.0f};
    store_rows(dk, of_k, scale, shape, sequence, first_key, kv_head, shape.kv_heads);
    store_rows(dv, of_v, one, shape, sequence, first_key, kv_head, shape.kv_heads);
}
