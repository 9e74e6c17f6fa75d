use anylora_engine::{Backend, DType, MemoryKind, Tensor};

use crate::operand::{download, rows_before};

/// An output that is a view of a larger tensor, whose other bytes an operation must leave alone. For the methods of
/// [`Backend`], which write where the caller says.
pub struct Output<B: Backend> {
    whole: Tensor<B>,
    /// What the operation is given.
    pub view: Tensor<B>,
}

const UNTOUCHED: u8 = 0xFF;

impl<B: Backend> Output<B> {
    /// A view of this shape, at a place that the device can bind.
    #[track_caller]
    pub fn new(device: &B, shape: &[usize], dtype: DType) -> Self {
        let row_bytes = shape[1..].iter().product::<usize>() * dtype.size();
        let before = rows_before(row_bytes);
        let mut all = shape.to_vec();
        all[0] += before + 2;
        let bytes = vec![UNTOUCHED; all[0] * row_bytes];
        let whole = Tensor::from_bytes(device, &all, dtype, MemoryKind::Activations, &bytes)
            .expect("the values are uploaded");
        let view = whole.rows(before..before + shape[0]).expect("within the tensor");
        Self { whole, view }
    }

    /// Panics where anything but the view was written.
    #[track_caller]
    pub fn check_around(&self) {
        let bytes = download(&self.whole);
        let start = self.view.offset_bytes() as usize;
        let inside = start..start + self.view.size_bytes();
        let touched = (0..bytes.len()).find(|i| !inside.contains(i) && bytes[*i] != UNTOUCHED);
        assert_eq!(touched, None, "a byte outside the view {inside:?} was written");
    }
}
