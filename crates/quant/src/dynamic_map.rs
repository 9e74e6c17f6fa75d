//! The signed dynamic 8-bit map that absmax are double quantized with.
//!
//! A decade `10^-6 .. 10^0` with index `e` is split into `2^e` equal parts of [0.1, 1], and the middles of
//! the parts, with both signs, are levels; 0 and 1 complete the 256. Source: bitsandbytes
//! `functional.py:create_dynamic_map(signed=True)`, after arXiv 1511.04561.

use std::sync::OnceLock;

/// The 256 levels in ascending order, from -0.99297 to 1.0; index 127 is 0.
///
/// The bits are those of `create_dynamic_map` on PyTorch's CPU, whose `linspace` computes its points from
/// both ends with a fused multiply-add.
pub const DYNAMIC_MAP_SIGNED: [f32; 256] = {
    const DECADES: [f32; 7] = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
    let mut map = [0.0; 256];
    let mut decade = 0;
    while decade < 7 {
        let parts = 1usize << decade;
        let mut part = 0;
        while part < parts {
            let middle = (boundary(part, parts) + boundary(part + 1, parts)) / 2.0;
            let level = DECADES[decade] * middle;
            // Decades below hold 1 + 2 + ... + 2^(decade - 1) = parts - 1 levels of each sign.
            let rank = parts - 1 + part;
            map[128 + rank] = level;
            map[126 - rank] = -level;
            part += 1;
        }
        decade += 1;
    }
    map[255] = 1.0;
    map
};

/// Point `i` of `torch.linspace(0.1, 1, parts + 1)`. An f64 holds the f32 products exactly, so rounding
/// the sum once is the fused multiply-add.
const fn boundary(i: usize, parts: usize) -> f32 {
    let step = ((1.0f32 - 0.1f32) / parts as f32) as f64;
    if i < parts.div_ceil(2) {
        (0.1f32 as f64 + step * i as f64) as f32
    } else {
        (1.0 - step * (parts - i) as f64) as f32
    }
}

/// Evenly spaced points of [-1, 1] that values are rounded to.
const POINTS: usize = 1 << 16;

/// The code of a value divided by its nested absmax.
///
/// It is not quite the nearest level: bitsandbytes' CPU path first rounds the value to the nearest of 65536
/// evenly spaced points of [-1, 1] (`csrc/cpu_ops.cpp:norm_to_lut_index` and `build_quantize_lut`), of
/// which 0 is none, and the goldens show it. NaN, which an infinite reciprocal makes of 0, takes point 0.
#[derive(Clone, Copy)]
pub(crate) struct Encoder(&'static [u8; POINTS]);

impl Encoder {
    /// Computes the code of every point on first use.
    pub(crate) fn get() -> Self {
        static CODES: OnceLock<Box<[u8; POINTS]>> = OnceLock::new();
        Self(CODES.get_or_init(|| {
            let mut codes = Box::new([0; POINTS]);
            let mut code = 0;
            for (point, out) in codes.iter_mut().enumerate() {
                let value = -1.0 + (2.0 * point as f32) / (POINTS - 1) as f32;
                // A value halfway between two levels takes the lower code.
                while code < 255 && 0.5 * (DYNAMIC_MAP_SIGNED[code] + DYNAMIC_MAP_SIGNED[code + 1]) < value {
                    code += 1;
                }
                *out = code as u8;
            }
            codes
        }))
    }

    pub(crate) fn encode(self, scaled: f32) -> u8 {
        let point = (scaled.clamp(-1.0, 1.0) + 1.0) * 0.5 * (POINTS - 1) as f32 + 0.5;
        self.0[usize::from(point as u16)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascending_from_minus_one_to_one_around_zero() {
        assert!(DYNAMIC_MAP_SIGNED.is_sorted_by(|a, b| a < b));
        assert_eq!(DYNAMIC_MAP_SIGNED[127], 0.0);
        assert_eq!(DYNAMIC_MAP_SIGNED[255], 1.0);
    }

    #[test]
    fn ends_and_nan() {
        let encode = |v| Encoder::get().encode(v);
        assert_eq!(encode(1.0), 255);
        assert_eq!(encode(2.0), 255);
        assert_eq!(encode(-1.0), 0);
        assert_eq!(encode(f32::NAN), 0);
    }
}
