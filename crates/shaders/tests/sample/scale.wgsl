#if ACT == f16
enable f16;
#endif
#import grid

struct Params {
    count: u32, // elements of `x`
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<#{ACT}>; // [count]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = element(id, groups);
    if (i < params.count) {
        x[i] = #{ACT}(f32(x[i]) * params.factor);
    }
}
