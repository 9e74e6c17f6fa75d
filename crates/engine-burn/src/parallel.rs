//! Loops over rows on all cores, and sums in a fixed order.

use crate::team;

/// Elements that make a task worth its start.
const TASK: usize = 1 << 14;

/// Runs `each(row, values)` over the rows of `out` `[rows, columns]`.
pub(crate) fn rows(out: &mut [f32], columns: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    if out.is_empty() {
        return;
    }
    team::parts(out, TASK.div_ceil(columns) * columns, |start, part| {
        for (row, values) in part.chunks_mut(columns).enumerate() {
            each(start / columns + row, values);
        }
    });
}

/// Runs `each(row, left, right)` over the rows of two buffers with rows of their own length.
pub(crate) fn rows2(
    (left, left_columns): (&mut [f32], usize),
    (right, right_columns): (&mut [f32], usize),
    each: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    if left.is_empty() || right.is_empty() {
        return;
    }
    let rows = TASK.div_ceil(left_columns);
    team::parts2(
        (left, rows * left_columns),
        (right, rows * right_columns),
        |task, left, right| {
            let pairs = left.chunks_mut(left_columns).zip(right.chunks_mut(right_columns));
            for (row, (left, right)) in pairs.enumerate() {
                each(task * rows + row, left, right);
            }
        },
    );
}

/// Runs `each(task, values)` over parts of `out` of `len` elements, each a task of its own.
pub(crate) fn tasks(out: &mut [f32], len: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    team::parts(out, len, |start, part| each(start / len, part));
}

/// Runs `each(start, values)` over parts of `out`.
pub(crate) fn parts(out: &mut [f32], each: impl Fn(usize, &mut [f32]) + Sync) {
    team::parts(out, TASK, each);
}

/// Runs `each(start, left, right)` over the same parts of two buffers of one length.
pub(crate) fn parts2(
    left: &mut [f32],
    right: &mut [f32],
    each: impl Fn(usize, &mut [f32], &mut [f32]) + Sync,
) {
    team::parts2((left, TASK), (right, TASK), |task, left, right| {
        each(task * TASK, left, right);
    });
}

/// Partial sums that the processor adds at once.
const LANES: usize = 16;

/// `sum(f(i))` over `i` in `0..len`, in an order that depends on `len` only.
pub(crate) fn sum_of(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let whole = len / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += f(start + lane);
        }
    }
    let rest: f32 = (whole..len).map(&f).sum();
    lanes.iter().sum::<f32>() + rest
}

/// `sum(x)`.
pub(crate) fn sum(x: &[f32]) -> f32 {
    sum_of(x.len(), |i| x[i])
}

/// `sum(a b)` of two slices of one length.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    sum_of(len, |i| a[i] * b[i])
}

/// `out += factor * x`.
pub(crate) fn add_scaled(out: &mut [f32], factor: f32, x: &[f32]) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += factor * x;
    }
}
