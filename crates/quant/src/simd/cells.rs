//! Picking a code with one table lookup, for registers that hold a whole table.

use crate::codebook::{FP4_TREE, NF4_TREE};

/// Cells per unit of a scaled value. Half a cell is left at both ends, so that 1 and a little
/// more fall in the last one.
pub(crate) const CELLS_PER_UNIT: f32 = 15.5;

/// The search in one step: cells so narrow that each holds one bound at most. The code of a value is `base`
/// of its cell, plus one if it is above the cell's `bound`.
///
/// A value within rounding of a cell's edge may be taken for its neighbour's: both give the same code, as no
/// bound is that near an edge.
pub(crate) struct Cells<const N: usize> {
    pub bound: [f32; N],
    pub base: [i32; N],
}

/// Cells of NF4: of `15.5 x + 16`, x in [-1, 1].
pub(crate) const NF4_CELLS: Cells<32> = Cells::new(&in_order(&NF4_TREE), 16.0);

/// Cells of the rank of FP4's magnitude: of `15.5 x`, x in [0, 1].
pub(crate) const FP4_CELLS: Cells<16> = Cells::new(&in_order(&FP4_TREE), 0.0);

impl<const N: usize> Cells<N> {
    /// Cells for a tree's bounds in order, of which the first is unused.
    const fn new(bounds: &[f32], offset: f32) -> Self {
        let mut cells = Self {
            bound: [f32::INFINITY; N],
            base: [0; N],
        };
        let mut code = 1;
        while code < bounds.len() {
            let position = bounds[code] * CELLS_PER_UNIT + offset;
            let cell = position as usize;
            let within = position - cell as f32;
            assert!(within > 0.01 && within < 0.99, "a bound on a cell's edge");
            assert!(cells.bound[cell] == f32::INFINITY, "two bounds in a cell");
            cells.bound[cell] = bounds[code];
            let mut above = cell + 1;
            while above < N {
                cells.base[above] = code as i32;
                above += 1;
            }
            code += 1;
        }
        cells
    }
}

/// The bounds of a tree from the lowest, from index 1 on: `bounds[i]` is between codes `i - 1` and `i`.
const fn in_order<const N: usize>(tree: &[f32; N]) -> [f32; N] {
    let mut bounds = [0.0; N];
    let mut node = 1;
    while node < N {
        let depth = usize::ilog2(node);
        bounds[(2 * (node - (1 << depth)) + 1) * ((N / 2) >> depth)] = tree[node];
        node += 1;
    }
    bounds
}
