// The parameters and bindings that all kernels of a frozen linear layer share. Forward multiplies rows of x `[M, K]`
// with rows of W; backward rows of dy `[M, N]` with columns of W. Written as one:
//
//   out[m, o] = sum over i of input[m, i] * w(i, o)     w(i, o) = W[o, i] forward, W[i, o] backward
//
// A launch works on a window of rows of the input and of W; every `*_first` says where in its binding (which starts on
// the device's alignment) the window begins.

struct Params {
    rows: u32, // rows of the input and of the output
    inner: u32, // the summed dimension: K forward, the window's rows of W backward
    outer: u32, // the output's dimension: the window's rows of W forward, K backward
    columns: u32, // K
    input_first: u32, // in elements
    input_stride: u32, // elements of a row of the input
    out_first: u32, // in elements
    out_stride: u32, // elements of a row of the output
    weight_first: u32, // in elements of W
    element_first: u32, // the window's first element in the whole matrix, which blocks are counted from
    block_shift: u32, // log2 of the elements that share an absmax
    absmax_first: u32, // the block of the binding's first absmax or code
    nested_first: u32, // the group of 256 blocks of the binding's first nested absmax
    absmax_offset: f32, // of double quantization
    bias_first: u32, // in elements
    rank: u32, // of the adapter; 0 without
    left_first: u32, // in elements
    right_first: u32, // in elements
    flags: u32, // see below
    row_first: u32, // the window's first row in the whole input: dropout counts from there
    dropout_key: vec2<u32>, // the seed
    dropout_step: u32, // the step
    dropout_layer: u32, // the layer
    dropout_threshold: u32, // 0 without dropout
    dropout_keep: f32, // 1 / (1 - p)
}

const ACCUMULATE = 1u; // the output holds the sum of the windows before
const BIAS = 2u; // there is a bias

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> input: array<vec4<#{ACT}>>; // [rows, inner] within rows of input_stride

fn is_set(flag: u32) -> bool {
    return (params.flags & flag) != 0u;
}

// Four neighbours of a row of the input, from a column that is a multiple of 4; zeros outside. ALIGNED: `input_first`,
// `input_stride` and `inner` are multiples of 4.
fn input_quad(row: u32, column: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if row < params.rows && column < params.inner {
        let first = params.input_first + row * params.input_stride + column;
#if ALIGNED == 1
        quad = vec4<f32>(input[first / 4u]);
#else
        for (var j = 0u; j < min(params.inner - column, 4u); j++) {
            quad[j] = f32(input[(first + j) / 4u][(first + j) % 4u]);
        }
#endif
    }
    return quad;
}
