#if REDUCE == workgroup
var<workgroup> partial: array<f32, 64>;

fn reduce(value: f32, local: u32) -> f32 {
    partial[local] = value;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride /= 2u) {
        if (local < stride) {
            partial[local] += partial[local + stride];
        }
        workgroupBarrier();
    }
    return partial[0];
}
#else
fn reduce(value: f32, local: u32) -> f32 {
    return subgroupAdd(value);
}
#endif
