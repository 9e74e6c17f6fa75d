//! The row order of q and k in llama.cpp's llama family.
//!
//! transformers rotates element `i` of a head with element `i + d/2`; llama.cpp rotates neighbours, so its converter
//! (`convert_hf_to_gguf.py:LlamaModel.permute`) moves row `i` of each head's first half to `2i`, and row `i` of the
//! second half to `2i + 1`.

/// Rows in transformers' order from rows in llama.cpp's: `rows` is `heads * head_dim` rows of `row_len` items each.
pub(crate) fn undo<T: Copy>(rows: &[T], head_dim: usize, row_len: usize) -> Vec<T> {
    reorder(rows, head_dim, row_len, |row| {
        let half = head_dim / 2;
        if row < half { 2 * row } else { 2 * (row - half) + 1 }
    })
}

/// The inverse of [`undo`].
pub(crate) fn apply<T: Copy>(rows: &[T], head_dim: usize, row_len: usize) -> Vec<T> {
    reorder(rows, head_dim, row_len, |row| row / 2 + row % 2 * (head_dim / 2))
}

/// Row `r` of each head of the result is row `source(r)` of the same head.
fn reorder<T: Copy>(rows: &[T], head_dim: usize, row_len: usize, source: impl Fn(usize) -> usize) -> Vec<T> {
    let mut out = Vec::with_capacity(rows.len());
    if rows.is_empty() {
        return out;
    }
    for head in rows.chunks_exact(head_dim * row_len) {
        for row in 0..head_dim {
            let at = source(row) * row_len;
            out.extend_from_slice(&head[at..at + row_len]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_of_four_rows() {
        let ours = [0, 0, 1, 1, 2, 2, 3, 3, 10, 10, 11, 11, 12, 12, 13, 13];
        // Reshaped to [2, d/2] and transposed: rows 0, 2, 1, 3 of each head.
        let theirs = [0, 0, 2, 2, 1, 1, 3, 3, 10, 10, 12, 12, 11, 11, 13, 13];
        assert_eq!(apply(&ours, 4, 2), theirs);
        assert_eq!(undo(&theirs, 4, 2), ours);
    }

    #[test]
    fn undo_undoes_apply() {
        let rows: Vec<u16> = (0..3 * 10 * 7).collect();
        assert_eq!(undo(&apply(&rows, 10, 7), 10, 7), rows);
    }
}
