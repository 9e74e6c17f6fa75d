// Softmax cross-entropy a row of logits [M, V] f32, and its gradient in their place:
//
//     lse = log(sum(exp(logits)))
//     stats[0, m] = lse - logits[label], stats[1, m] = 1
//     logits = (softmax(logits) - onehot(label)) * grad_scale
//
// and zeros where the label is -100. A label outside 0..V gives NaN.
//
// One workgroup a row. Each invocation takes every THREADS-th cell (of WIDTH logits) with a running maximum and sum
// (Milakov and Gimelshein, "Online normalizer calculation for softmax", arXiv 1805.02867), then the workgroup joins
// them: one read for the loss, one more and a write for the gradient. The invocation that owns the label's cell is the
// only one that reads its logit and writes its gradient and the row's stats, so none waits for another.
#import grid
#import reduce

const THREADS = 256u;
const IGNORED = -100;
const LOWEST = -3.4028234e38;
#if WIDTH == 4
alias Cell = vec4<f32>;
#else
alias Cell = f32;
#endif

struct Params {
    rows: u32, // M, the rows of this binding of `logits`
    cells: u32, // V / WIDTH
    first: u32, // the row of `labels` that row 0 is
    place: u32, // the column of `stats` that row 0 is
    width: u32, // S, the columns of `stats`
    gradient: u32, // 1 to write the gradient
    grad_scale: f32, // on the gradient
    nan: f32, // not a number, which WGSL can't write
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<Cell>; // [M, V]
@group(0) @binding(2) var<storage, read> labels: array<i32>; // [first + M] at least
@group(0) @binding(3) var<storage, read_write> stats: array<f32>; // [2, S]

#if WIDTH == 4
fn largest(cell: Cell) -> f32 {
    return max(max(cell.x, cell.y), max(cell.z, cell.w));
}

fn total(cell: Cell) -> f32 {
    return (cell.x + cell.y) + (cell.z + cell.w);
}
#else
fn largest(cell: Cell) -> f32 {
    return cell;
}

fn total(cell: Cell) -> f32 {
    return cell;
}
#endif

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
#if REDUCE == subgroup
    @builtin(subgroup_size) subgroup_size: u32,
#endif
) {
#if REDUCE == subgroup
    reduce_begin(subgroup_size);
#endif
    let row = workgroup_index(group, groups);
    if row >= params.rows {
        return;
    }
    let base = row * params.cells;
    let place = params.place + row;
    let label = labels[params.first + row];
    if label == IGNORED {
        if params.gradient == 1u {
            for (var i = local; i < params.cells; i += THREADS) {
                logits[base + i] = Cell();
            }
        }
        if local == 0u {
            stats[place] = 0.0;
            stats[params.width + place] = 0.0;
        }
        return;
    }

    var most = LOWEST;
    var sum = 0.0;
    // Four cells at once: their loads overlap, and the running sum is rescaled once for all of them.
    var i = local;
    for (; i + 3u * THREADS < params.cells; i += 4u * THREADS) {
        let a = logits[base + i];
        let b = logits[base + i + THREADS];
        let c = logits[base + i + 2u * THREADS];
        let d = logits[base + i + 3u * THREADS];
        let next = max(most, largest(max(max(a, b), max(c, d))));
        sum = sum * exp(most - next) + total((exp(a - next) + exp(b - next)) + (exp(c - next) + exp(d - next)));
        most = next;
    }
    for (; i < params.cells; i += THREADS) {
        let a = logits[base + i];
        let next = max(most, largest(a));
        sum = sum * exp(most - next) + total(exp(a - next));
        most = next;
    }
    let row_most = reduce_max(most, local);
    let row_sum = reduce_sum(sum * exp(most - row_most), local);
    let lse = row_most + log(row_sum);

    // A negative label becomes a number above any V.
    let target_index = u32(label);
    let inside = target_index < params.cells * #{WIDTH}u;
    let target_cell = target_index / #{WIDTH}u;
    let owner = select(0u, target_cell % THREADS, inside);
    if local == owner {
        var nll = params.nan;
        if inside {
#if WIDTH == 4
            nll = lse - logits[base + target_cell][target_index % 4u];
#else
            nll = lse - logits[base + target_cell];
#endif
        }
        stats[place] = nll;
        stats[params.width + place] = 1.0;
    }
    if params.gradient == 0u {
        return;
    }
    let factor = select(params.nan, params.grad_scale, inside);
    for (var j = local; j < params.cells; j += THREADS) {
        var cell = exp(logits[base + j] - lse) * factor;
        if inside && j == target_cell {
#if WIDTH == 4
            cell[target_index % 4u] -= factor;
#else
            cell -= factor;
#endif
        }
        logits[base + j] = cell;
    }
}
