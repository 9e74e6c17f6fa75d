//! The mean of f32 values with PyTorch's order of additions, which decides the last bits of the offset.
//!
//! Source: PyTorch `aten/src/ATen/native/cpu/SumKernel.cpp` (`vectorized_inner_sum`, `row_sum`,
//! `multi_row_sum`), as its AVX2 build runs it for one contiguous row: 8 lanes, 4 interleaved rows, and a
//! cascade of 4 accumulators, each taking over from the one below after a fixed number of additions.
//!
//! PyTorch splits sums of 32768 values or more over its threads, so that its own result depends on their
//! number. Here as with one of its threads: the order is fixed by the length alone.

/// Lanes of PyTorch's `Vectorized<float>` under AVX2, the widest that its sum is built for.
const LANES: usize = 8;
/// Rows summed side by side (`ilp_factor`).
const ROWS: usize = 4;
/// Accumulators in the cascade (`num_levels`).
const LEVELS: usize = 4;

/// `mean(x)`, x `[n]`, n > 0.
pub(crate) fn mean(x: &[f32]) -> f32 {
    sum(x) / x.len() as f32
}

fn sum(x: &[f32]) -> f32 {
    if x.len() < LANES {
        return row_sum::<1>(x)[0];
    }
    let (vectors, tail) = x.split_at(x.len() / LANES * LANES);
    let lanes = row_sum::<LANES>(vectors);
    tail.iter().chain(&lanes).fold(0.0, |sum, v| sum + v)
}

/// Sums x `[vectors, L]` over vectors.
fn row_sum<const L: usize>(x: &[f32]) -> [f32; L] {
    let vectors = x.as_chunks::<L>().0;
    let (rows, rest) = vectors.as_chunks::<ROWS>();
    let mut partial = cascade(rows);
    for vector in rest {
        add(&mut partial[0], vector);
    }
    let [mut sum, others @ ..] = partial;
    for other in &others {
        add(&mut sum, other);
    }
    sum
}

/// Sums rows `[size, ROWS, L]` over size.
fn cascade<const L: usize>(rows: &[[[f32; L]; ROWS]]) -> [[f32; L]; ROWS] {
    let level_power = (ceil_log2(rows.len()) / LEVELS).max(4);
    let level_step = 1usize << level_power;
    let mut acc = [[[0.0f32; L]; ROWS]; LEVELS];
    let mut steps = rows.chunks_exact(level_step);
    let mut done = 0usize;
    for step in steps.by_ref() {
        for row in step {
            add_rows(&mut acc[0], row);
        }
        done += level_step;
        for level in 1..LEVELS {
            let below = std::mem::replace(&mut acc[level - 1], [[0.0; L]; ROWS]);
            add_rows(&mut acc[level], &below);
            if done & ((level_step - 1) << (level * level_power)) != 0 {
                break;
            }
        }
    }
    for row in steps.remainder() {
        add_rows(&mut acc[0], row);
    }
    let [mut sum, upper @ ..] = acc;
    for level in &upper {
        add_rows(&mut sum, level);
    }
    sum
}

fn add_rows<const L: usize>(sum: &mut [[f32; L]; ROWS], x: &[[f32; L]; ROWS]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        add(sum, x);
    }
}

fn add<const L: usize>(sum: &mut [f32; L], x: &[f32; L]) {
    for (sum, x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

fn ceil_log2(x: usize) -> usize {
    if x <= 2 { 1 } else { (x - 1).ilog2() as usize + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_where_every_order_is() {
        for n in [1usize, 3, 7, 8, 9, 31, 32, 33, 511, 512, 1000, 40_000] {
            let x: Vec<f32> = (0..n).map(|i| (i % 16) as f32).collect();
            let exact = x.iter().map(|&v| f64::from(v)).sum::<f64>();
            assert_eq!(f64::from(sum(&x)), exact, "n = {n}");
        }
    }

    #[test]
    fn more_accurate_than_a_running_sum() {
        let x = vec![0.1f32; 1 << 20];
        assert!((mean(&x) - 0.1).abs() < 1e-7);
    }
}
