// y = x in another float type, rounded to nearest with ties to even, in integers: so infinities, NaN and denormals
// come out right on every device, and none needs f16.
//
// One invocation takes 4 elements, and where the last vector is not whole, its first ones.
#import grid

struct Params {
    count: u32, // elements
}

#if FROM == f32
alias Source = vec4<u32>;
#else
alias Source = vec2<u32>; // two elements a word, the first in the low half
#endif
#if TO == f32
alias Target = vec4<u32>;
#else
alias Target = vec2<u32>;
#endif

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Source>; // [count / 4] vectors of 4 elements
@group(0) @binding(2) var<storage, read_write> y: array<Target>; // [count / 4] vectors of 4 elements

#if FROM == f16
// The f32 bits of the f16 in the low half.
fn widen(half: u32) -> u32 {
    let sign = (half & 0x8000u) << 16u;
    let exponent = (half >> 10u) & 31u;
    let fraction = half & 0x3ffu;
    // A denormal is its fraction times 2^-24, which f32 has as a normal number.
    let denormal = bitcast<u32>(f32(fraction) * 5.9604644775390625e-8);
    var magnitude = ((exponent + 112u) << 23u) | (fraction << 13u);
    if exponent == 31u {
        magnitude = 0x7f800000u | (fraction << 13u);
        if fraction != 0u {
            magnitude |= 0x400000u; // a quiet NaN
        }
    }
    return sign | select(magnitude, denormal, exponent == 0u);
}
#elif FROM == bf16
fn widen(half: u32) -> u32 {
    return half << 16u;
}
#endif

#if TO == f16
// The f16 bits that are nearest to f32 bits.
fn narrow(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & 0x7fffffffu;
    if magnitude > 0x7f800000u {
        return sign | 0x7e00u | ((magnitude >> 13u) & 0x3ffu);
    }
    if magnitude >= 0x47800000u {
        return sign | 0x7c00u; // 65536 and above
    }
    if magnitude >= 0x38800000u {
        // Normal: rounding may carry into the exponent, up to infinity.
        let rebiased = magnitude - (112u << 23u);
        return sign | ((rebiased + 0xfffu + ((rebiased >> 13u) & 1u)) >> 13u);
    }
    // Denormal: the significand is shifted by 14 for 2^-15, and by one more for each lower exponent. Below 2^-25
    // nothing is left of it.
    let shift = min(126u - (magnitude >> 23u), 25u);
    let significand = (magnitude & 0x7fffffu) | 0x800000u;
    let kept = significand >> shift;
    let rest = significand & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    let up = rest > half || (rest == half && (kept & 1u) == 1u);
    return sign | (kept + u32(up));
}
#endif

// The f32 bits of 4 elements.
fn load(i: u32) -> vec4<u32> {
#if FROM == f32
    return x[i];
#else
    let words = x[i];
    return vec4(
        widen(words.x & 0xffffu),
        widen(words.x >> 16u),
        widen(words.y & 0xffffu),
        widen(words.y >> 16u),
    );
#endif
}

@compute @workgroup_size(256)
fn convert(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = workgroup_index(group, groups) * 256u + local;
    if 4u * i >= params.count {
        return;
    }
    let rest = params.count - 4u * i;
    let values = load(i);
#if TO == f32
    if rest >= 4u {
        y[i] = values;
    } else {
        for (var lane = 0u; lane < rest; lane++) {
            y[i][lane] = values[lane];
        }
    }
#else
    let words = vec2(
        narrow(values.x) | (narrow(values.y) << 16u),
        narrow(values.z) | (narrow(values.w) << 16u),
    );
    if rest >= 4u {
        y[i] = words;
    } else {
        // Half a word at the end belongs to somebody else.
        if rest >= 2u {
            y[i].x = words.x;
        } else {
            y[i].x = (y[i].x & 0xffff0000u) | (words.x & 0xffffu);
        }
        if rest == 3u {
            y[i].y = (y[i].y & 0xffff0000u) | (words.y & 0xffffu);
        }
    }
#endif
}
