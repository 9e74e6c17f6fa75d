//! Tables of every `rope_type` against transformers 5.23's `modeling_rope_utils.py` (its functions run in f32 on NumPy).

#![allow(
    clippy::excessive_precision,
    reason = "nine digits name an f32, as they were printed"
)]

use anylora_nn::{Rope, RopeScaling, yarn_attention_factor};

const LINEAR: [f32; 32] = [
    0.25,
    0.18747355,
    0.140585333,
    0.105424128,
    0.079056941,
    0.059284348,
    0.0444569848,
    0.0333380364,
    0.0250000004,
    0.0187473539,
    0.0140585322,
    0.0105424123,
    0.00790569466,
    0.00592843397,
    0.00444569858,
    0.00333380373,
    0.00249999994,
    0.00187473558,
    0.00140585331,
    0.00105424121,
    0.000790569466,
    0.000592843455,
    0.000444569858,
    0.000333380362,
    0.000250000012,
    0.000187473546,
    0.000140585325,
    0.000105424137,
    7.90569466e-5,
    5.92843462e-5,
    4.44569851e-5,
    3.33380376e-5,
];

const DYNAMIC_6000: [f32; 32] = [
    1.0,
    0.712610543,
    0.507813811,
    0.361873448,
    0.257874846,
    0.183764338,
    0.130952403,
    0.09331806,
    0.0664994344,
    0.0473881997,
    0.0337693319,
    0.0240643807,
    0.0171485301,
    0.0122202244,
    0.00870826095,
    0.00620559882,
    0.00442217477,
    0.00315128849,
    0.00224564131,
    0.00160026771,
    0.00114036759,
    0.000812638027,
    0.000579094398,
    0.0004126688,
    0.000294072117,
    0.000209558915,
    0.000149333879,
    0.000106416912,
    7.58338065e-5,
    5.40399669e-5,
    3.85094536e-5,
    2.74422418e-5,
];

const PLAIN: [f32; 32] = [
    1.0,
    0.749894202,
    0.562341332,
    0.421696514,
    0.316227764,
    0.237137392,
    0.177827939,
    0.133352146,
    0.100000001,
    0.0749894157,
    0.0562341288,
    0.0421696492,
    0.0316227786,
    0.0237137359,
    0.0177827943,
    0.0133352149,
    0.00999999978,
    0.00749894232,
    0.00562341325,
    0.00421696482,
    0.00316227786,
    0.00237137382,
    0.00177827943,
    0.00133352145,
    0.00100000005,
    0.000749894185,
    0.000562341302,
    0.000421696546,
    0.000316227786,
    0.000237137385,
    0.00017782794,
    0.00013335215,
];

const LLAMA3: [f32; 32] = [
    1.0,
    0.66360122,
    0.440366626,
    0.292227805,
    0.193922758,
    0.128687382,
    0.0853971019,
    0.0566696189,
    0.0376060307,
    0.0249554086,
    0.0165604409,
    0.0109895291,
    0.00729266508,
    0.00483942125,
    0.00321144611,
    0.00129054801,
    0.000429556705,
    9.70828623e-5,
    1.94616387e-5,
    1.29147684e-5,
    8.57025589e-6,
    5.68723181e-6,
    3.77405445e-6,
    2.50446692e-6,
    1.66196764e-6,
    1.10288363e-6,
    7.31874934e-7,
    4.85673127e-7,
    3.22293289e-7,
    2.1387423e-7,
    1.41927202e-7,
    9.4183072e-8,
];

const YARN: [f32; 32] = [
    1.0,
    0.649381638,
    0.421696514,
    0.273841977,
    0.177827939,
    0.115478203,
    0.0749894157,
    0.0486967526,
    0.0316227786,
    0.0205352493,
    0.0133352149,
    0.00865964312,
    0.00515479548,
    0.0030431177,
    0.00177853031,
    0.00102661783,
    0.000583333371,
    0.000324690831,
    0.000175706897,
    9.12806499e-5,
    4.44569851e-5,
    2.88695519e-5,
    1.87473561e-5,
    1.21741887e-5,
    7.90569356e-6,
    5.13381246e-6,
    3.33380399e-6,
    2.16491071e-6,
    1.40585337e-6,
    9.12935377e-7,
    5.92843435e-7,
    3.84981632e-7,
];

const YARN_MSCALE: [f32; 32] = [
    1.0,
    0.749894202,
    0.562341332,
    0.421696514,
    0.316227764,
    0.237137392,
    0.177827939,
    0.133352146,
    0.100000001,
    0.0749894157,
    0.0562341288,
    0.0421696492,
    0.0316227786,
    0.0233312435,
    0.0150961196,
    0.00952086132,
    0.00579010462,
    0.00332995923,
    0.00173821871,
    0.000734386675,
    0.000123952457,
    5.92843462e-5,
    4.44569851e-5,
    3.3338034e-5,
    2.49999994e-5,
    1.87473543e-5,
    1.40585325e-5,
    1.05424142e-5,
    7.90569447e-6,
    5.92843435e-6,
    4.44569832e-6,
    3.33380353e-6,
];

fn rope(theta: f64, scaling: RopeScaling) -> Rope {
    Rope {
        dim: 64,
        theta,
        scaling,
    }
}

/// Row 1 of a table holds the inverse frequencies as angles, on a circle whose radius is the attention factor.
fn check(rope: &Rope, sequence: usize, inv_freq: &[f32; 32], radius: f32) {
    let values = rope.values(2, sequence);
    let (cosines, sines) = values[64..].split_at(32);
    for (i, expected) in inv_freq.iter().enumerate() {
        let angle = sines[i].atan2(cosines[i]);
        assert!(
            (angle / expected - 1.0).abs() < 2e-6,
            "{rope:?}: {i}: {angle} and not {expected}"
        );
        assert!((sines[i].hypot(cosines[i]) - radius).abs() < 1e-6);
    }
    assert!(values[..32].iter().all(|&cos| (cos - radius).abs() < 1e-6));
    assert!(values[32..64].iter().all(|&sin| sin == 0.0));
}

#[test]
fn default_and_linear() {
    check(&rope(1e4, RopeScaling::Default), 2, &PLAIN, 1.0);
    check(&rope(1e4, RopeScaling::Linear { factor: 4.0 }), 2, &LINEAR, 1.0);
}

#[test]
fn dynamic_grows_with_the_sequence_and_with_tokens_after_it() {
    let dynamic = rope(
        1e4,
        RopeScaling::Dynamic {
            factor: 2.0,
            max_position_embeddings: 2048,
        },
    );
    check(&dynamic, 100, &PLAIN, 1.0);
    check(&dynamic, 6000, &DYNAMIC_6000, 1.0);
    // A token generated at position 2999 turns as in a sequence of 3000.
    let grown = dynamic.values(3000, 10);
    let whole = dynamic.values(3000, 3000);
    assert_eq!(grown[2999 * 64..], whole[2999 * 64..]);
    assert_ne!(grown[2500 * 64..2501 * 64], whole[2500 * 64..2501 * 64]);
    assert_eq!(
        grown[..2048 * 64],
        rope(1e4, RopeScaling::Default).values(2048, 1)
    );
}

#[test]
fn llama3() {
    let scaling = RopeScaling::Llama3 {
        factor: 32.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_max_position_embeddings: 8192,
    };
    check(&rope(5e5, scaling), 2, &LLAMA3, 1.0);
}

#[test]
fn yarn() {
    let yarn = |factor, original, mscale, all, [fast, slow]: [f64; 2], truncate| RopeScaling::Yarn {
        factor,
        attention_factor: yarn_attention_factor(factor, mscale, all),
        beta_fast: fast,
        beta_slow: slow,
        original_max_position_embeddings: original,
        truncate,
    };
    let plain = yarn(4.0, 32768, None, None, [32.0, 1.0], true);
    check(&rope(1e6, plain), 2, &YARN, 1.138_629_4);
    let with_mscale = yarn(40.0, 4096, Some(1.0), Some(0.707), [16.0, 2.0], false);
    check(&rope(1e4, with_mscale), 2, &YARN_MSCALE, 1.085_726_4);
    assert_eq!(yarn_attention_factor(1.0, None, None), 1.0);
}
