// y = silu(gate) * up and its gradients, with s = sigmoid(gate):
//   y = gate * s * up;  dup = dy * gate * s;  dgate = dy * up * s * (1 + gate * (1 - s)).
//
// One invocation takes the 4 elements of one vector, and where the last vector is not whole, its first ones.
#if ACT == f16
enable f16;
#endif
#import grid
alias Stored = vec4<#{ACT}>;

struct Params {
    count: u32, // elements
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<Stored>; // [count / 4, 4]
@group(0) @binding(2) var<storage, read> up: array<Stored>; // [count / 4, 4]
@group(0) @binding(3) var<storage, read_write> y: array<Stored>; // [count / 4, 4]
@group(0) @binding(4) var<storage, read> dy: array<Stored>; // [count / 4, 4]
@group(0) @binding(5) var<storage, read_write> dgate: array<Stored>; // [count / 4, 4]
@group(0) @binding(6) var<storage, read_write> dup: array<Stored>; // [count / 4, 4]

// 1 / (1 + exp(-x)), without an infinity on the way.
fn sigmoid(x: vec4<f32>) -> vec4<f32> {
    let e = exp(-abs(x));
    return select(e, vec4(1.0), x >= vec4(0.0)) / (1.0 + e);
}

@compute @workgroup_size(256)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if 4u * i >= params.count {
        return;
    }
    let x = vec4<f32>(gate[i]);
    let value = Stored(x * sigmoid(x) * vec4<f32>(up[i]));
    if 4u * i + 4u <= params.count {
        y[i] = value;
    } else {
        for (var lane = 0u; 4u * i + lane < params.count; lane++) {
            y[i][lane] = value[lane];
        }
    }
}

@compute @workgroup_size(256)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if 4u * i >= params.count {
        return;
    }
    let x = vec4<f32>(gate[i]);
    let s = sigmoid(x);
    let grad = vec4<f32>(dy[i]);
    let grad_gate = Stored(grad * vec4<f32>(up[i]) * s * (1.0 + x * (1.0 - s)));
    let grad_up = Stored(grad * x * s);
    if 4u * i + 4u <= params.count {
        dgate[i] = grad_gate;
        dup[i] = grad_up;
    } else {
        for (var lane = 0u; 4u * i + lane < params.count; lane++) {
            dgate[i][lane] = grad_gate[lane];
            dup[i][lane] = grad_up[lane];
        }
    }
}
