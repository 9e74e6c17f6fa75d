use std::ops::Range;

use crate::{Caps, Error, Result};

/// Splits `rows` into windows in which every tensor (`row_bytes` each row) fits one binding that starts on the
/// device's alignment, provided that row 0 does.
///
/// # Errors
/// [`Error::BindingLimit`] where even the smallest aligned window is too large.
pub fn row_windows(op: &'static str, rows: u64, row_bytes: &[u64], caps: &Caps) -> Result<Vec<Range<u64>>> {
    let widest = row_bytes.iter().copied().max().unwrap_or(0);
    if rows.saturating_mul(widest) <= caps.max_binding_bytes {
        return Ok(std::iter::once(0..rows).collect());
    }
    // The fewest rows after which every tensor is at an aligned place again.
    let align = caps.binding_alignment;
    let step = row_bytes
        .iter()
        .map(|&bytes| align / gcd(bytes, align))
        .max()
        .unwrap_or(1);
    let most = caps.max_binding_bytes / widest / step * step;
    if most == 0 {
        return Err(Error::BindingLimit {
            op,
            unit: if step == 1 {
                "row"
            } else {
                "group of rows at an aligned place"
            },
            bytes: widest * step,
            limit: caps.max_binding_bytes,
        });
    }
    Ok((0..rows)
        .step_by(most as usize)
        .map(|start| start..rows.min(start + most))
        .collect())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_aligned_cover_all_rows_and_fit() {
        let caps = Caps {
            max_binding_bytes: 65_536,
            ..Caps::WEBGPU
        };
        for (a, b) in [(4, 100), (2304, 36), (1540, 6), (12_000, 4)] {
            let windows = match row_windows("test", 1000, &[a, b], &caps) {
                Ok(windows) => windows,
                Err(Error::BindingLimit { bytes, .. }) => {
                    assert!(bytes > 65_536);
                    continue;
                }
                Err(error) => panic!("{error}"),
            };
            let mut next = 0;
            for window in windows {
                assert_eq!(window.start, next);
                for row in [a, b] {
                    assert_eq!(window.start * row % 256, 0);
                    assert!((window.end - window.start) * row <= 65_536);
                }
                next = window.end;
            }
            assert_eq!(next, 1000);
        }
    }
}
