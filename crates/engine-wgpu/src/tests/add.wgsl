// The test kernel: y = y + x * factor, and where it reads and writes in other ways.
struct Params {
    length: u32,
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>; // [length]
@group(0) @binding(2) var<storage, read_write> y: array<f32>; // [length]

@compute @workgroup_size(64)
fn add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.x + group.y * groups.x) * 64u + lane;
    if (i < params.length) {
        y[i] = y[i] + x[i] * params.factor;
    }
}
