// What the attention kernels share: shapes, and which query sees which key.
#pragma once
#include "shared/types.cuh"

struct Heads {
    const u32 *segments; // [B, T], or null: a query sees keys of its own segment only
    u32 batch, time, heads, kv_heads, dim;
    u32 window; // a query sees keys at a distance below this
    u32 causal; // 1: a query sees no later key
    f32 scale;
};

// The place of an element of q, and of k or v: [B, T, H, D].
__device__ inline u64 query_at(const Heads &shape, u32 sequence, u32 token, u32 head) {
    return (((u64)sequence * shape.time + token) * shape.heads + head) * shape.dim;
}
__device__ inline u64 key_at(const Heads &shape, u32 sequence, u32 token, u32 head) {
    return (((u64)sequence * shape.time + token) * shape.kv_heads + head) * shape.dim;
}
// The place of a query's lse and delta: [B, T, Hq].
__device__ inline u64 stat_at(const Heads &shape, u32 sequence, u32 token, u32 head) {
    return ((u64)sequence * shape.time + token) * shape.heads + head;
}

__device__ inline bool visible(const Heads &shape, u32 sequence, u32 query, u32 key) {
    if (query >= shape.time || key >= shape.time) return false;
    u32 distance = query > key ? query - key : key - query;
    if ((shape.causal && key > query) || distance >= shape.window) return false;
    const u32 *segments = shape.segments + (u64)sequence * shape.time;
    return !shape.segments || segments[query] == segments[key];
}

// Columns that any of the rows first .. first + count may meet, where a row meets those from `back` before it to `on`
// after it.
struct Span {
    u32 begin, end;
};
__device__ inline Span span(const Heads &shape, u32 first, u32 count, bool rows_are_queries) {
    u32 last = lowest(first + count, shape.time) - 1;
    u32 far = lowest(shape.window, shape.time) - 1;
    u32 back = rows_are_queries || !shape.causal ? far : 0;
    u32 on = !rows_are_queries || !shape.causal ? far : 0;
    return Span{first - lowest(first, back), lowest(last + on + 1, shape.time)};
}
