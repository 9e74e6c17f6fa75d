// delta[row] = sum_d dout[row, d] * out[row, d], which attention's backward takes; a row is a query of a head.
//
// A workgroup has eight rows, and eight invocations a row.
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
    rows: u32,
    width: u32, // of a row, in elements of the bindings
    first: u32, // the first row's place in delta
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> dout: array<Element>; // [rows, D]
@group(0) @binding(2) var<storage, read> out: array<Element>; // [rows, D]
@group(0) @binding(3) var<storage, read_write> delta: array<f32>; // [.., rows]

const ROWS = 8u;
const LANES = 8u;

var<workgroup> shares: array<f32, 64>;

@compute @workgroup_size(64)
fn delta_rows(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_index(group, groups) * ROWS + local / LANES;
    let lane = local % LANES;
    var sum = 0.0;
    if row < params.rows {
        for (var d = lane; d < params.width; d += LANES) {
            let at = row * params.width + d;
#if WIDTH == 4
            sum += dot(vec4<f32>(dout[at]), vec4<f32>(out[at]));
#else
            sum += f32(dout[at]) * f32(out[at]);
#endif
        }
    }
    shares[local] = sum;
    workgroupBarrier();
    if lane == 0u && row < params.rows {
        var total = 0.0;
        for (var i = 0u; i < LANES; i++) {
            total += shares[local + i];
        }
        delta[params.first + row] = total;
    }
}
