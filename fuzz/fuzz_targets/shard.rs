//! A shard of a pack as it arrives: how long it is said to be (the difference to its length) and the size of a piece
//! in two bytes each, and it.
#![no_main]

use anylora_checkpoint::{CheckpointError, ShardReader};
use libfuzzer_sys::fuzz_target;

/// Tensors by name with their bytes, in the order in which they came.
fn read(file: &[u8], len: usize, size: usize) -> Result<Vec<(String, Vec<u8>)>, CheckpointError> {
    let mut reader = ShardReader::new("fuzz.safetensors", len);
    let mut tensors: Vec<(String, Vec<u8>)> = Vec::new();
    for piece in file.chunks(size) {
        reader.push(piece, |piece| {
            if piece.offset == 0 {
                tensors.push((piece.name.into(), Vec::new()));
            }
            let (name, bytes) = tensors.last_mut().unwrap();
            assert_eq!((name.as_str(), bytes.len()), (piece.name, piece.offset));
            bytes.extend_from_slice(piece.bytes);
            assert!(bytes.len() <= piece.len);
            assert_eq!(piece.is_last(), bytes.len() == piece.len);
            Ok::<_, CheckpointError>(())
        })?;
    }
    reader.finish()?;
    Ok(tensors)
}

fuzz_target!(|data: &[u8]| {
    let Some((&[low, high, size @ ..], file)) = data.split_first_chunk::<4>() else {
        return;
    };
    let off = isize::from(i16::from_le_bytes([low, high]));
    let size = usize::from(u16::from_le_bytes(size)).max(1);
    let len = file.len().saturating_add_signed(off);
    match (read(file, len, size), read(file, len, file.len().max(1))) {
        (Ok(pieces), Ok(whole)) => assert_eq!(pieces, whole),
        // Pieces are refused as soon as something is wrong with them, the whole by the first thing that is.
        (pieces, whole) => assert!(pieces.is_err() && whole.is_err()),
    }
});
