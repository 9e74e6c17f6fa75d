//! One float an element.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Rows, Sink};
use crate::simd::{LANES, Simd};

/// A float type.
pub(crate) trait Element: Sync {
    /// Bytes of one.
    const SIZE: usize;

    /// Sixteen of them in f32.
    ///
    /// # Safety
    /// `from` points to sixteen, and the processor has S's features.
    unsafe fn load<S: Simd>(from: *const u8) -> S::F;
}

/// Named as [`anylora_engine::DType`] names them.
pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct BF16;

macro_rules! element {
    ($name:ident, $size:literal, $from:ident => $load:expr) => {
        impl Element for $name {
            const SIZE: usize = $size;

            #[inline(always)]
            unsafe fn load<S: Simd>($from: *const u8) -> S::F {
                // SAFETY: the caller's promise.
                unsafe { $load }
            }
        }
    };
}
element!(F32, 4, from => S::load(from.cast()));
element!(F16, 2, from => S::halves(from));
element!(BF16, 2, from => S::brains(from));

/// `[N, columns]` of E.
pub(crate) struct Dense<'a, E> {
    bytes: &'a [u8],
    columns: usize,
    element: PhantomData<E>,
}

impl<'a, E: Element> Dense<'a, E> {
    /// Whole rows, in the host's order of bytes.
    pub(crate) fn new(bytes: &'a [u8], columns: usize) -> Self {
        Self {
            bytes,
            columns,
            element: PhantomData,
        }
    }
}

impl<E: Element> Rows for Dense<'_, E> {
    fn columns(&self) -> usize {
        self.columns
    }

    #[inline(always)]
    unsafe fn visit<S: Simd>(&self, row: usize, columns: Range<usize>, sink: &mut impl Sink<S>) {
        let size = self.columns * E::SIZE;
        let bytes = &self.bytes[row * size..(row + 1) * size];
        let end = columns.end.min(self.columns);
        let mut at = columns.start;
        // SAFETY: every load lies in the row or, of the last sixteen, in `last`; the processor is the caller's promise.
        unsafe {
            let load = |from: &[u8], at: usize| E::load::<S>(from.as_ptr().add(at * E::SIZE));
            while at + 2 * LANES <= end {
                sink.take::<0>(at, load(bytes, at));
                sink.take::<1>(at + LANES, load(bytes, at + LANES));
                at += 2 * LANES;
            }
            if at + LANES <= end {
                sink.take::<0>(at, load(bytes, at));
                at += LANES;
            }
            if at < end {
                let mut last = [0; 4 * LANES];
                let rest = &bytes[at * E::SIZE..end * E::SIZE];
                last[..rest.len()].copy_from_slice(rest);
                sink.take::<1>(at, load(&last, 0));
            }
        }
    }
}
