// Sums and maxima over a workgroup of one dimension, in a fixed order. The kernel declares `const THREADS`, a power
// of two from 64 on; every invocation calls, and every one gets the result.
//
// Subgroups are runs of consecutive invocations: so it is for one-dimensional workgroups on every API.
#if REDUCE == subgroup
const REDUCE_SLOTS = THREADS / 4u; // no subgroup is smaller than 4
var<private> reduce_subgroup_size: u32;

fn reduce_begin(subgroup_size: u32) {
    reduce_subgroup_size = min(subgroup_size, THREADS); // one subgroup may hold more than the workgroup
}
#else
const REDUCE_SLOTS = THREADS;
#endif

var<workgroup> reduce_partial: array<f32, REDUCE_SLOTS>;

fn reduce_sum(value: f32, local: u32) -> f32 {
#if REDUCE == subgroup
    let share = subgroupAdd(value);
    let size = reduce_subgroup_size;
    if local % size == 0u {
        reduce_partial[local / size] = share;
    }
    workgroupBarrier();
    var total = 0.0;
    for (var i = 0u; i < THREADS / size; i++) {
        total += reduce_partial[i];
    }
#else
    reduce_partial[local] = value;
    workgroupBarrier();
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        if local < stride {
            reduce_partial[local] += reduce_partial[local + stride];
        }
        workgroupBarrier();
    }
    let total = reduce_partial[0];
#endif
    workgroupBarrier(); // the next call writes what this one still reads
    return total;
}

fn reduce_max(value: f32, local: u32) -> f32 {
#if REDUCE == subgroup
    let share = subgroupMax(value);
    let size = reduce_subgroup_size;
    if local % size == 0u {
        reduce_partial[local / size] = share;
    }
    workgroupBarrier();
    var most = reduce_partial[0];
    for (var i = 1u; i < THREADS / size; i++) {
        most = max(most, reduce_partial[i]);
    }
#else
    reduce_partial[local] = value;
    workgroupBarrier();
    for (var stride = THREADS / 2u; stride > 0u; stride /= 2u) {
        if local < stride {
            reduce_partial[local] = max(reduce_partial[local], reduce_partial[local + stride]);
        }
        workgroupBarrier();
    }
    let most = reduce_partial[0];
#endif
    workgroupBarrier();
    return most;
}
