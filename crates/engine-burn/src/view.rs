//! Engine tensors as the operations of this crate use them: host slices and burn matrices of a view.

use std::ops::Range;
use std::sync::Arc;

use anylora_engine::{DType, Error, Result, Tensor};
use burn::tensor::backend::Backend;
use burn::tensor::{Bytes, Tensor as BurnTensor};

use crate::Burn;
use crate::storage::{Floats, Missing};

/// The elements that a view spans in its storage.
fn range<B: Backend>(view: &Tensor<Burn<B>>) -> Range<usize> {
    let start = view.offset_bytes() as usize / view.dtype().size();
    start..start + view.len()
}

/// The values of an f32 view on the host.
pub(crate) fn floats<B: Backend>(op: &'static str, view: &Tensor<Burn<B>>) -> Result<Floats> {
    view.storage().floats(op, range(view))
}

/// Changes the values of an f32 view in place. They must have been written.
pub(crate) fn update<B: Backend>(
    op: &'static str,
    view: &Tensor<Burn<B>>,
    change: impl FnOnce(&mut [f32]),
) -> Result<()> {
    view.storage().update(op, range(view), Missing::Error(op), change)
}

/// Writes some of the values of an f32 view; values that nobody wrote are zeros.
pub(crate) fn write_some<B: Backend>(
    op: &'static str,
    view: &Tensor<Burn<B>>,
    change: impl FnOnce(&mut [f32]),
) -> Result<()> {
    view.storage().update(op, range(view), Missing::Zeros, change)
}

/// Writes all values of an f32 view.
pub(crate) fn write<B: Backend>(op: &'static str, view: &Tensor<Burn<B>>, values: Vec<f32>) -> Result<()> {
    view.storage()
        .write(op, range(view).start, Bytes::from_elems(values))
}

/// The values of a u32 or i32 view.
pub(crate) fn integers<B: Backend, I: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
    op: &'static str,
    view: &Tensor<Burn<B>>,
) -> Result<Vec<I>> {
    let bytes = view.storage().bytes(op)?;
    let start = view.offset_bytes() as usize;
    Ok(bytemuck::pod_collect_to_vec(
        &bytes[start..start + view.size_bytes()],
    ))
}

/// The bytes of a view of another type than f32, and where it starts in them.
pub(crate) fn bytes<B: Backend>(op: &'static str, view: &Tensor<Burn<B>>) -> Result<(Arc<Vec<u8>>, usize)> {
    Ok((view.storage().bytes(op)?, view.offset_bytes() as usize))
}

/// An f32 view as a burn matrix, without a copy.
pub(crate) fn matrix<B: Backend>(
    op: &'static str,
    view: &Tensor<Burn<B>>,
    [rows, columns]: [usize; 2],
) -> Result<BurnTensor<B, 2>> {
    let all = view.storage().tensor(op)?;
    let (range, len) = (range(view), all.dims()[0]);
    if range.len() == len {
        return Ok(all.reshape([rows, columns]));
    }
    // burn-flex reshapes without a copy only what is whole, so the rows are taken after the reshape.
    if range.start % columns == 0 && len % columns == 0 {
        let first = range.start / columns;
        return Ok(all
            .reshape([len / columns, columns])
            .slice([first..first + rows, 0..columns]));
    }
    Ok(all.narrow(0, range.start, range.len()).reshape([rows, columns]))
}

/// Whether a view is its whole storage.
pub(crate) fn is_whole<B: Backend>(view: &Tensor<Burn<B>>) -> bool {
    view.len() == view.storage().len()
}

/// Refuses what no operation should have handed in.
pub(crate) fn expect_f32<B: Backend>(
    op: &'static str,
    argument: &'static str,
    view: &Tensor<Burn<B>>,
) -> Result<()> {
    if view.dtype() == DType::F32 {
        return Ok(());
    }
    Err(Error::DType {
        op,
        argument,
        expected: "f32",
        found: view.dtype(),
    })
}
