// One step of AdamW in place (Loshchilov and Hutter, arXiv 1711.05101; as torch.optim.AdamW), elementwise:
//
//     g = grad * grad_scale
//     m = beta1 m + (1 - beta1) g
//     v = beta2 v + (1 - beta2) g^2
//     p = keep p - rate m / (sqrt(v) root + eps)
//
// with keep = 1 - lr * weight_decay, rate = lr / (1 - beta1^step) and root = 1 / sqrt(1 - beta2^step) from the host.
// Each invocation steps four neighbours. Bindings span whole 16 bytes, so the last four can be read whole; only those
// below `length` are written, since others may belong to the tensor's next rows.
#import grid

const THREADS = 256u;

struct Params {
    length: u32, // elements
    grad_scale: f32, // clipping, loss scaling and token weighting in one
    beta1: f32, // the decay of the first moment
    rest1: f32, // 1 - beta1
    beta2: f32, // the decay of the second moment
    rest2: f32, // 1 - beta2
    keep: f32, // 1 - lr * weight_decay
    rate: f32, // lr / (1 - beta1^step)
    root: f32, // 1 / sqrt(1 - beta2^step)
    eps: f32, // added to the root of the second moment
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> param: array<vec4<f32>>; // [length]
@group(0) @binding(2) var<storage, read> grad: array<vec4<f32>>; // [length]
@group(0) @binding(3) var<storage, read_write> m: array<vec4<f32>>; // [length]
@group(0) @binding(4) var<storage, read_write> v: array<vec4<f32>>; // [length]

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let quad = workgroup_index(group, groups) * THREADS + local;
    if quad >= (params.length + 3u) / 4u {
        return;
    }
    let g = grad[quad] * params.grad_scale;
    let first = params.beta1 * m[quad] + params.rest1 * g;
    let second = params.beta2 * v[quad] + params.rest2 * g * g;
    let update = params.rate * first / (sqrt(second) * params.root + params.eps);
    let stepped = params.keep * param[quad] - update;
    let count = params.length - quad * 4u;
    if count >= 4u {
        param[quad] = stepped;
        m[quad] = first;
        v[quad] = second;
        return;
    }
    for (var i = 0u; i < count; i++) {
        param[quad][i] = stepped[i];
        m[quad][i] = first[i];
        v[quad][i] = second[i];
    }
}
