#import reduce

@group(0) @binding(0) var<storage, read> x: array<f32>; // [64 * groups]
@group(0) @binding(1) var<storage, read_write> y: array<f32>; // [groups]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_index) local: u32, @builtin(workgroup_id) group: vec3<u32>) {
    let sum = reduce(x[id.x], local);
    if (local == 0u) {
        y[group.x] = sum;
    }
}
