//! TFRecord's framing: length `u64`, its checksum `u32`, the data, their checksum `u32`, all little-endian.
//!
//! Source: tensorflow, `tsl/lib/io/record_writer.h`.

use crc::{CRC_32_ISCSI, Crc};

/// CRC-32C, by Castagnoli's polynomial.
const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Bytes before and after the data.
const HEADER: usize = 12;
const FOOTER: usize = 4;

/// A checksum that is safe to store beside what it sums (`tsl/lib/hash/crc32c.h`).
fn masked_crc(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xA282_EAD8)
}

/// `data` as a record.
pub(super) fn frame(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(HEADER + data.len() + FOOTER);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(data);
    record.extend(masked_crc(data).to_le_bytes());
    record
}

/// The data of the first record, and the record's length. None where it isn't whole.
pub(super) fn first(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (length, rest) = bytes.split_first_chunk::<8>()?;
    let (length_crc, rest) = rest.split_first_chunk::<4>()?;
    if masked_crc(length) != u32::from_le_bytes(*length_crc) {
        return None;
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (data, rest) = rest.split_at_checked(length)?;
    let data_crc = rest.first_chunk::<4>()?;
    (masked_crc(data) == u32::from_le_bytes(*data_crc)).then_some((data, HEADER + length + FOOTER))
}
