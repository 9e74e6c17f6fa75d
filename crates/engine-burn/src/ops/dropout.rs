use anylora_engine::{Dropout, philox4x32};

use crate::parallel;

/// Multiplies a row of a matrix by its factors, as [`Dropout::factor`] gives them, four from each call of Philox.
pub(super) fn drop_row(dropout: &Dropout, row: usize, values: &mut [f32]) {
    let (key, threshold, keep) = (dropout.key(), dropout.threshold(), dropout.keep_scale());
    for (four, values) in values.chunks_mut(4).enumerate() {
        let words = philox4x32([row as u32, four as u32, dropout.step, dropout.layer], key);
        for (value, word) in values.iter_mut().zip(words) {
            *value *= if word < threshold { 0.0 } else { keep };
        }
    }
}

/// `mask * x`: x `[M, columns]`.
pub(super) fn dropped(dropout: &Dropout, x: &[f32], columns: usize) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    parallel::rows(&mut out, columns, |row, out| {
        out.copy_from_slice(&x[row * columns..(row + 1) * columns]);
        drop_row(dropout, row, out);
    });
    out
}
