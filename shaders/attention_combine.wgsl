// Joins the parts of attention_decode.wgsl. With part i's maximum m_i, sum l_i and weighted values o_i:
//   out = sum_i 2^(m_i - m) o_i / sum_i 2^(m_i - m) l_i,  m = max_i m_i.
//
// A workgroup has one head of one sequence.
#if ACT == f16
enable f16;
#endif
#import grid

struct Params {
    rows: u32, // B * Hq
    dim: u32,
    vectors: u32, // of 4 elements, in a head
    splits: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>; // [rows, splits, vectors + 1]
@group(0) @binding(2) var<storage, read_write> out: array<#{ACT}>; // [rows, D]

@compute @workgroup_size(64)
fn combine(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) d: u32,
) {
    let row = workgroup_index(group, groups);
    if row >= params.rows || d >= params.vectors {
        return;
    }
    let stride = params.vectors + 1u;
    let start = row * params.splits * stride;
    var highest = parts[start + params.vectors].x;
    for (var i = 1u; i < params.splits; i++) {
        highest = max(highest, parts[start + i * stride + params.vectors].x);
    }
    var total = 0.0;
    var value = vec4<f32>();
    for (var i = 0u; i < params.splits; i++) {
        let part = start + i * stride;
        let of_part = parts[part + params.vectors];
        let factor = exp2(of_part.x - highest);
        total += factor * of_part.y;
        value += factor * parts[part + d];
    }
    // Without any key the result is 0.
    value /= select(total, 1.0, total == 0.0);
    for (var i = 0u; i < 4u; i++) {
        if 4u * d + i < params.dim {
            out[row * params.dim + 4u * d + i] = #{ACT}(value[i]);
        }
    }
}
