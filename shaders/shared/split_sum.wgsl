// Sums over the LANES invocations of a workgroup that share an output, in a fixed order. LANES * GROUPS is THREADS;
// each group has RANKS outputs at a time. The kernel declares these constants and
// `fn split_place(group: u32, lane: u32) -> u32`, the local index of an invocation.
//
//     split_partial[j * THREADS + local] = ...;        for every j < RANKS
//     let sum = split_sum(local);                      of output `split_output(local)`
//
// for the invocations below SPLIT_OUTPUTS. Barriers are in `split_sum`; every invocation calls it.
const SPLIT_OUTPUTS = GROUPS * RANKS;
// Invocations that share the work of an output; each adds RANKS numbers.
const SPLIT_SHARES = LANES / RANKS;

var<workgroup> split_partial: array<f32, THREADS * RANKS>;

// Group and j of the output that this invocation gets.
fn split_output(local: u32) -> vec2<u32> {
    let output = local % SPLIT_OUTPUTS;
    return vec2<u32>(output % GROUPS, output / GROUPS);
}

fn split_sum(local: u32) -> f32 {
    let output = split_output(local);
    let share = local / SPLIT_OUTPUTS;
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < RANKS; i++) {
        // Neighbours begin at different lanes, which spreads them over the memory's banks.
        let lane = share * RANKS + (i + output.y) % RANKS;
        sum += split_partial[output.y * THREADS + split_place(output.x, lane)];
    }
    workgroupBarrier();
    split_partial[local] = sum;
    workgroupBarrier();
    sum = 0.0;
    for (var i = 0u; i < SPLIT_SHARES; i++) {
        sum += split_partial[i * SPLIT_OUTPUTS + local % SPLIT_OUTPUTS];
    }
    workgroupBarrier(); // the next round writes what this one still reads
    return sum;
}
