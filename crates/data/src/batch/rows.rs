//! Which examples share a row and which rows share a batch.

use super::order::SplitMix64;

/// Rows of a batch; a row is a list of places in the window.
pub(super) type Rows = Vec<Vec<usize>>;

/// Puts examples of the given lengths into rows of at most `capacity` tokens. With `sort`, the longest first,
/// each into the first row with room (first-fit decreasing); else in order, a row closed once one doesn't fit.
pub(super) fn pack(lengths: &[usize], capacity: usize, sort: bool) -> Rows {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    if sort {
        order.sort_by_key(|&at| std::cmp::Reverse(lengths[at]));
    }
    let mut rows = Rows::new();
    let mut room: Vec<usize> = Vec::new();
    for at in order {
        let length = lengths[at];
        let open = if sort { 0 } else { rows.len().saturating_sub(1) };
        match (open..rows.len()).find(|&row| room[row] >= length) {
            Some(row) => {
                rows[row].push(at);
                room[row] -= length;
            }
            None => {
                rows.push(vec![at]);
                room.push(capacity.saturating_sub(length));
            }
        }
    }
    rows
}

/// One example a row; with `sort`, by length, so that rows of a batch need little padding.
pub(super) fn one_each(lengths: &[usize], sort: bool) -> Rows {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    if sort {
        order.sort_by_key(|&at| lengths[at]);
    }
    order.into_iter().map(|at| vec![at]).collect()
}

/// Cuts rows into batches of `batch_size`. Rows that fill no whole batch come back second, unless `last`, where
/// they are a smaller batch. `random` puts the batches into random order.
pub(super) fn batches(
    mut rows: Rows,
    batch_size: usize,
    last: bool,
    random: Option<&mut SplitMix64>,
) -> (Vec<Rows>, Rows) {
    let rest = if last {
        Rows::new()
    } else {
        rows.split_off(rows.len() / batch_size * batch_size)
    };
    let mut batches: Vec<Rows> = rows.chunks(batch_size).map(<[Vec<usize>]>::to_vec).collect();
    if let Some(random) = random {
        // A smaller batch stays at the end.
        let whole = batches
            .iter()
            .take_while(|batch| batch.len() == batch_size)
            .count();
        random.shuffle(&mut batches[..whole]);
    }
    (batches, rest)
}
