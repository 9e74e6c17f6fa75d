// x = a + b, x = x + b and x = x * factor, of any shape, computed in f32.
//
// One invocation takes WIDTH elements at the same place of all tensors: consecutive invocations read consecutive
// addresses. WIDTH 4 is for sizes that are multiples of 4.
#if ACT == f16
enable f16;
#endif
#import grid
#import vector

struct Params {
    count: u32, // vectors of WIDTH elements
    factor: f32, // `scale`'s
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>; // [count, WIDTH]
@group(0) @binding(2) var<storage, read> b: array<Stored>; // [count, WIDTH]
@group(0) @binding(3) var<storage, read_write> x: array<Stored>; // [count, WIDTH]

@compute @workgroup_size(256)
fn add(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if i < params.count {
        x[i] = Stored(Value(a[i]) + Value(b[i]));
    }
}

// a and the result are one buffer, which is bound once.
@compute @workgroup_size(256)
fn add_in_place(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if i < params.count {
        x[i] = Stored(Value(x[i]) + Value(b[i]));
    }
}

@compute @workgroup_size(256)
fn scale(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if i < params.count {
        x[i] = Stored(Value(x[i]) * params.factor);
    }
}
