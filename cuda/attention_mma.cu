// Attention as in attention.cu on tensor cores, for f16 and bf16 and heads of up to 128 elements in multiples of 8:
// scores and sums are f32, the weights are rounded to ACT for the product with v.
#include "shared/attention_mma.cuh"

KERNEL(128, attention_mma, (const act *q, // [B, T, Hq, D]
                            const act *k, const act *v, // [B, T, Hkv, D]
                            act *out, // [B, T, Hq, D]
                            f32 *lse, // [B, T, Hq]
                            Heads shape)) {
    alignas(16) __shared__ u16 queries[ROW_TILE * PITCH];
    alignas(16) __shared__ u16 keys[COLUMN_TILE * PITCH];
    alignas(16) __shared__ u16 values[COLUMN_TILE * PITCH];
    u32 of_all = shape.batch * shape.heads;
    u32 tiles = (shape.time + ROW_TILE - 1) / ROW_TILE;
    u32 sequence = block_index() % of_all / shape.heads;
    u32 head = block_index() % shape.heads;
    u32 kv_head = head / (shape.heads / shape.kv_heads);
    // Under causality the last queries see the most keys: their blocks start first.
    u32 first_query = (tiles - 1 - block_index() / of_all) * ROW_TILE;
    const u16 *rows = queries + thread_index() / 32 * 16 * PITCH;
    load_rows(queries, ROW_TILE, q, shape, sequence, first_query, head, shape.heads);

    f32 most[2] = {-3.0e38f, -3.0e38f}, sums[2] = {};
    Elements result = {};
    Span columns = span(shape, first_query, ROW_TILE, true);
    for (u32 first_key = columns.begin / COLUMN_TILE * COLUMN_TILE; first_key < columns.end; first_key += COLUMN_TILE) {
        load_rows(keys, COLUMN_TILE, k, shape, sequence, first_key, kv_head, shape.kv_heads);
        load_rows(values, COLUMN_TILE, v, shape, sequence, first_key, kv_head, shape.kv_heads);
        block_barrier();
        Scores scores;
        scores_of(scores, rows, keys);
        f32 highest[2] = {most[0], most[1]};
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                bool shown = visible(shape, sequence, first_query + row_of(i), first_key + column_of(j, i));
                scores[j][i] = shown ? scores[j][i] * shape.scale : -3.0e38f;
                highest[i / 2] = fmaxf(highest[i / 2], scores[j][i]);
            }
        }
        f32 shrink[2];
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            highest[half] = fmaxf(highest[half], shuffle_xor(highest[half], 1));
            highest[half] = fmaxf(highest[half], shuffle_xor(highest[half], 2));
            shrink[half] = expf(most[half] - highest[half]);
            most[half] = highest[half];
            sums[half] *= shrink[half]; // a lane's own share
        }
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                // A row without any visible key so far has the lowest maximum. NaN is no hidden key's: it comes through.
                scores[j][i] = scores[j][i] < -2.0e38f ? 0.0f : expf(scores[j][i] - most[i / 2]);
                sums[i / 2] += scores[j][i];
            }
        }
#pragma unroll
        for (u32 j = 0; j < DIM / 8; j++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) result[j][i] *= shrink[i / 2];
        }
        accumulate(result, scores, values);
        block_barrier(); // the tiles were read
    }
    f32 factors[2];
#pragma unroll
    for (u32 half = 0; half < 2; half++) {
        sums[half] += shuffle_xor(sums[half], 1);
        sums[half] += shuffle_xor(sums[half], 2);
        factors[half] = 1.0f / sums[half];
        u32 query = first_query + row_of(2 * half);
        if (query < shape.time && thread_index() % 4 == 0) {
            lse[stat_at(shape, sequence, query, head)] = most[half] + logf(sums[half]);
        }
    }
    store_rows(out, result, factors, shape, sequence, first_query, head, shape.heads);
}
