// cache[b, starts[b] + t] = fresh[b, t], up to the cache's end. A workgroup copies one token's row.
#if ACT == f16
enable f16;
#endif
#import grid

#if WIDTH == 4
alias Element = vec4<#{ACT}>;
#else
alias Element = #{ACT};
#endif

struct Params {
    batch: u32,
    time: u32,
    capacity: u32,
    width: u32, // Hkv * D, in elements of the bindings
    first: u32, // the first sequence's place in starts
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> fresh: array<Element>; // [B, T, Hkv, D]
@group(0) @binding(2) var<storage, read> starts: array<u32>; // [..]
@group(0) @binding(3) var<storage, read_write> cache: array<Element>; // [B, S, Hkv, D]

@compute @workgroup_size(64)
fn append(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_index(group, groups);
    if row >= params.batch * params.time {
        return;
    }
    let sequence = row / params.time;
    let token = row % params.time;
    let start = starts[params.first + sequence];
    if start >= params.capacity || token >= params.capacity - start {
        return;
    }
    let to = (sequence * params.capacity + start + token) * params.width;
    for (var i = local; i < params.width; i += 64u) {
        cache[to + i] = fresh[row * params.width + i];
    }
}
