//! Work over disjoint chunks of a tensor: rayon's threads natively, in order on wasm32.

use crate::QuantError;

/// Values a task: small enough to balance, large enough that starting it costs nothing, and a multiple of
/// every block size.
pub(crate) const CHUNK: usize = 1 << 16;

/// One task of quantization: `values` starts at element `start` of the slice handed in.
pub(crate) struct QuantizeTask<'a> {
    pub start: usize,
    pub values: &'a [f32],
    pub packed: &'a mut [u8],
    pub absmax: &'a mut [f32],
}

/// Runs `task` over values `[n]` in chunks, each with its part of packed `[n / 2]` and absmax `[n / block]`.
/// Returns the error of the earliest chunk that has one, so that it does not depend on the threads.
pub(crate) fn quantize_chunks(
    values: &[f32],
    block: usize,
    packed: &mut [u8],
    absmax: &mut [f32],
    task: impl Fn(QuantizeTask<'_>) -> Result<(), QuantError> + Sync,
) -> Result<(), QuantError> {
    if values.len() <= CHUNK {
        return task(QuantizeTask {
            start: 0,
            values,
            packed,
            absmax,
        });
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        let parts = values
            .par_chunks(CHUNK)
            .zip(packed.par_chunks_mut(CHUNK / 2))
            .zip(absmax.par_chunks_mut(CHUNK / block));
        let results = parts.enumerate().map(|(i, ((values, packed), absmax))| {
            task(QuantizeTask {
                start: i * CHUNK,
                values,
                packed,
                absmax,
            })
        });
        results.find_map_first(Result::err).map_or(Ok(()), Err)
    }
    #[cfg(target_arch = "wasm32")]
    {
        let parts = values
            .chunks(CHUNK)
            .zip(packed.chunks_mut(CHUNK / 2))
            .zip(absmax.chunks_mut(CHUNK / block));
        parts.enumerate().try_for_each(|(i, ((values, packed), absmax))| {
            task(QuantizeTask {
                start: i * CHUNK,
                values,
                packed,
                absmax,
            })
        })
    }
}

/// Runs `task(start, part)` over parts of `out` of [`CHUNK`] values each.
pub(crate) fn fill_chunks(out: &mut [f32], task: impl Fn(usize, &mut [f32]) + Sync) {
    let run = |(i, part): (usize, &mut [f32])| task(i * CHUNK, part);
    if out.len() <= CHUNK {
        return run((0, out));
    }
    #[cfg(not(target_arch = "wasm32"))]
    {
        use rayon::prelude::*;
        out.par_chunks_mut(CHUNK).enumerate().for_each(run);
    }
    #[cfg(target_arch = "wasm32")]
    out.chunks_mut(CHUNK).enumerate().for_each(run);
}
