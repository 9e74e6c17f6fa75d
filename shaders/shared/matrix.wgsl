// Products of SIZE x SIZE matrices by the 32 invocations of a subgroup together: MMA=coop is wgpu's cooperative
// matrices, MMA=emulated the same operations in plain arithmetic, for tests where no device has the others.
//
// Matrices lie in three workgroup arrays of the kernel, each with a distance between rows:
//   tile_input: array<f16>    rows of A, INPUT_PITCH
//   tile_weight: array<f16>   DIRECTION=forward columns of B, backward rows of B, WEIGHT_PITCH
//   scratch: array<f32>       rows of C, SCRATCH_PITCH
// `at` is a matrix's first element, the same for a whole subgroup. All control flow around a call is uniform, and a
// barrier lies between a write to an array and the load. A kernel calls `matrix_begin` first.

#if MMA == coop
alias MatrixA = coop_mat#{SIZE}x#{SIZE}<f16, A>;
alias MatrixB = coop_mat#{SIZE}x#{SIZE}<f16, B>;
alias MatrixC = coop_mat#{SIZE}x#{SIZE}<f32, C>;

fn matrix_begin(local: u32) {}

// `coopLoadT` and `coopStoreT` are for rows, `coopLoad` is for columns.
fn load_a(at: u32) -> MatrixA {
    return coopLoadT<MatrixA>(&tile_input[at], INPUT_PITCH);
}

fn load_b(at: u32) -> MatrixB {
#if DIRECTION == forward
    return coopLoad<MatrixB>(&tile_weight[at], WEIGHT_PITCH);
#else
    return coopLoadT<MatrixB>(&tile_weight[at], WEIGHT_PITCH);
#endif
}

fn load_c(at: u32) -> MatrixC {
    return coopLoadT<MatrixC>(&scratch[at], SCRATCH_PITCH);
}

fn store_c(c: MatrixC, at: u32) {
    coopStoreT(c, &scratch[at], SCRATCH_PITCH);
}

fn multiply_add(a: MatrixA, b: MatrixB, c: MatrixC) -> MatrixC {
    return coopMultiplyAdd(a, b, c);
}
#elif MMA == emulated
// A and B stay where they are; an invocation holds every 32nd element of C.
const MATRIX_SIZE = #{SIZE}u;
const MATRIX_PARTS = MATRIX_SIZE * MATRIX_SIZE / 32u;

struct MatrixA {
    at: u32,
}
struct MatrixB {
    at: u32,
}
struct MatrixC {
    parts: array<f32, MATRIX_PARTS>,
}

var<private> matrix_lane: u32;

fn matrix_begin(local: u32) {
    matrix_lane = local % 32u;
}

// The row and the column of a part.
fn matrix_place(part: u32) -> vec2<u32> {
    let element = part * 32u + matrix_lane;
    return vec2<u32>(element / MATRIX_SIZE, element % MATRIX_SIZE);
}

fn load_a(at: u32) -> MatrixA {
    return MatrixA(at);
}

fn load_b(at: u32) -> MatrixB {
    return MatrixB(at);
}

fn load_c(at: u32) -> MatrixC {
    var c: MatrixC;
    for (var part = 0u; part < MATRIX_PARTS; part++) {
        let place = matrix_place(part);
        c.parts[part] = scratch[at + place.x * SCRATCH_PITCH + place.y];
    }
    return c;
}

fn store_c(c: MatrixC, at: u32) {
    var copy = c;
    for (var part = 0u; part < MATRIX_PARTS; part++) {
        let place = matrix_place(part);
        scratch[at + place.x * SCRATCH_PITCH + place.y] = copy.parts[part];
    }
}

fn multiply_add(a: MatrixA, b: MatrixB, c: MatrixC) -> MatrixC {
    var sum = c;
    for (var part = 0u; part < MATRIX_PARTS; part++) {
        let place = matrix_place(part);
        for (var i = 0u; i < MATRIX_SIZE; i++) {
            let left = tile_input[a.at + place.x * INPUT_PITCH + i];
#if DIRECTION == forward
            let right = tile_weight[b.at + place.y * WEIGHT_PITCH + i];
#else
            let right = tile_weight[b.at + i * WEIGHT_PITCH + place.y];
#endif
            sum.parts[part] += f32(left) * f32(right);
        }
    }
    return sum;
}
#endif
