// x = a + b, x = x + b and x = x * factor: tensors of one shape, computed in f32.
//
// One invocation takes the 4 elements of one vector, and where the last vector is not whole, its first ones:
// consecutive invocations read consecutive addresses.
#if ACT == f16
enable f16;
#endif
#import grid
alias Stored = vec4<#{ACT}>;

struct Params {
    count: u32, // elements
    factor: f32, // what `scale` multiplies by
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>; // [count / 4, 4]
@group(0) @binding(2) var<storage, read> b: array<Stored>; // [count / 4, 4]
@group(0) @binding(3) var<storage, read_write> x: array<Stored>; // [count / 4, 4]

fn store(i: u32, value: vec4<f32>) {
    let stored = Stored(value);
    if 4u * i + 4u <= params.count {
        x[i] = stored;
    } else {
        for (var lane = 0u; 4u * i + lane < params.count; lane++) {
            x[i][lane] = stored[lane];
        }
    }
}

@compute @workgroup_size(256)
fn add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if 4u * i < params.count {
        store(i, vec4<f32>(a[i]) + vec4<f32>(b[i]));
    }
}

// a and the result are one buffer, which is bound once.
@compute @workgroup_size(256)
fn add_in_place(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if 4u * i < params.count {
        store(i, vec4<f32>(x[i]) + vec4<f32>(b[i]));
    }
}

@compute @workgroup_size(256)
fn scale(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if 4u * i < params.count {
        store(i, vec4<f32>(x[i]) * params.factor);
    }
}
