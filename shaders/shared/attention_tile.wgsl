// The products that attention's kernels share: a workgroup works on 32 rows (queries, or keys in the backward of k and
// v) and walks over tiles of 32 columns (keys, or queries). For each tile it
//   product:    scores[row, column] = sum_d row[d] * column[d], in chunks of 32 elements of the head,
//   (the kernel turns scores into weights: probabilities or gradients of scores),
//   accumulate: result[row, :] += weights[row, column] * source[column, :].
// Eight invocations (lane.x) share a row. Of the scores each has ROWS rows (lane.y + i * ROW_LANES) and the four
// columns from 4 * lane.x on; of the result the vectors lane.x + 8 * i of the same rows.
//
// A kernel declares the bindings and the loaders
//   row_value(which, row, d), column_value(which, column, d), source_value(column, d):
// the vector d of a row of the workgroup's head, or zeros outside.
#import attention_mask

#if WIDTH == 4
alias Element = vec4<#{ACT}>;
#else
alias Element = #{ACT};
#endif

const LANES = 8u;
#if DIM == 256
const ROW_LANES = 16u;
#else
const ROW_LANES = 8u;
#endif
const THREADS = LANES * ROW_LANES;
const ROWS = TILE / ROW_LANES;
// Vectors of the result that an invocation has in a row.
const VECTORS = #{DIM}u / 4u / LANES;
// Vectors of the head that are staged at once; an odd stride keeps the eight lanes on different banks.
const CHUNK = 8u;
const STRIDE = CHUNK + 1u;
const LOG2_E = 1.4426950408889634;

var<workgroup> row_tile: array<vec4<f32>, TILE * STRIDE>;
// Column c is at (c % 4) * 8 + c / 4. Between the product and the sums it holds the weights, [row, column / 4].
var<workgroup> column_tile: array<vec4<f32>, TILE * STRIDE>;

struct Lane {
    x: u32,
    y: u32,
}

fn lane_of(local: u32) -> Lane {
    return Lane(local % LANES, local / LANES);
}

// Adds the tile's scores.
fn product(which: u32, first_row: u32, first_column: u32, local: u32, scores: ptr<function, array<vec4<f32>, ROWS>>) {
    let lane = lane_of(local);
    for (var start = 0u; start < params.vectors; start += CHUNK) {
        workgroupBarrier(); // the tiles are still being read
        for (var i = local; i < TILE * CHUNK; i += THREADS) {
            let place = i / CHUNK;
            let d = i % CHUNK;
            row_tile[place * STRIDE + d] = row_value(which, first_row + place, start + d);
            let slot = (place % 4u) * LANES + place / 4u;
            column_tile[slot * STRIDE + d] = column_value(which, first_column + place, start + d);
        }
        workgroupBarrier();
        for (var d = 0u; d < CHUNK; d++) {
            let c0 = column_tile[lane.x * STRIDE + d];
            let c1 = column_tile[(LANES + lane.x) * STRIDE + d];
            let c2 = column_tile[(2u * LANES + lane.x) * STRIDE + d];
            let c3 = column_tile[(3u * LANES + lane.x) * STRIDE + d];
            for (var i = 0u; i < ROWS; i++) {
                let r = row_tile[(lane.y + i * ROW_LANES) * STRIDE + d];
                (*scores)[i] += vec4<f32>(dot(r, c0), dot(r, c1), dot(r, c2), dot(r, c3));
            }
        }
    }
}

// Puts a row's weights where `accumulate` reads them; barriers before the first and after the last.
fn put_weights(row: u32, lane_x: u32, weights: vec4<f32>) {
    column_tile[row * STRIDE + lane_x] = weights;
}

// Adds the tile's weighted sum of source rows.
fn accumulate(first_column: u32, local: u32, result: ptr<function, array<vec4<f32>, ROWS * VECTORS>>) {
    let lane = lane_of(local);
    let last = params.time - 1u;
    for (var four = 0u; four < TILE / 4u; four++) {
        let column = first_column + 4u * four;
        if column > last {
            break;
        }
        // Columns past the end have weight 0.
        for (var v = 0u; v < VECTORS; v++) {
            let d = lane.x + v * LANES;
            if d < params.vectors {
                let s0 = source_value(column, d);
                let s1 = source_value(min(column + 1u, last), d);
                let s2 = source_value(min(column + 2u, last), d);
                let s3 = source_value(min(column + 3u, last), d);
                for (var i = 0u; i < ROWS; i++) {
                    let w = column_tile[(lane.y + i * ROW_LANES) * STRIDE + four];
                    (*result)[i * VECTORS + v] += w.x * s0 + w.y * s1 + w.z * s2 + w.w * s3;
                }
            }
        }
    }
}

// Which elements of vector d lie within the head.
fn inside(d: u32) -> vec4<bool> {
    return vec4<u32>(4u * d) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.dim);
}

// Where the elements of vector d of a row are, repeating the last one.
fn elements(row: u32, d: u32) -> vec4<u32> {
    let wanted = vec4<u32>(4u * d) + vec4<u32>(0u, 1u, 2u, 3u);
    return vec4<u32>(row * params.dim) + min(wanted, vec4<u32>(params.dim - 1u));
}
