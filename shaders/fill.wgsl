// x = value: of f32, u32 and i32 (as u32 words) and of f16.
//
// One invocation writes the 4 elements of one vector, and where the last vector is not whole, its first ones.
#if ELEMENT == f16
enable f16;
#endif
#import grid

struct Params {
    count: u32, // elements
    bits: u32, // the value: a word, or an f16 in its low half
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<vec4<#{ELEMENT}>>; // [count / 4, 4]

@compute @workgroup_size(256)
fn fill(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
#if ELEMENT == f16
    let value = f16(unpack2x16float(params.bits).x);
#else
    let value = params.bits;
#endif
    if 4u * i + 4u <= params.count {
        x[i] = vec4(value);
    } else {
        for (var lane = 0u; 4u * i + lane < params.count; lane++) {
            x[i][lane] = value;
        }
    }
}
