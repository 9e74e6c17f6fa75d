//! Values there and back, the pool, refusals. Needs a software adapter: `scripts/setup` installs lavapipe.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

use anylora_engine::{Backend, DType, DeviceSpec, Error, MemoryKind, Tensor};
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use pollster::block_on;

const KIND: MemoryKind = MemoryKind::Scratch;

fn open(options: OpenOptions) -> Wgpu {
    block_on(Wgpu::open(DeviceSpec::Software, options)).unwrap_or_else(|error| panic!("{error}"))
}

fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len)
        .map(|place| (place * 31 + place / 251 + seed) as u8)
        .collect()
}

#[test]
fn values_of_any_size_come_back() {
    for poison in [false, true] {
        let gpu = open(OpenOptions {
            poison,
            ..OpenOptions::default()
        });
        for len in [1, 2, 3, 4, 5, 15, 16, 17, 255, 4096, 65_537, (16 << 20) + 3] {
            let values = pattern(len, len);
            let tensor = Tensor::from_bytes(&gpu, &[len], DType::U8, KIND, &values).unwrap();
            assert!(block_on(tensor.download()).unwrap() == values, "{len} bytes");
        }
    }
}

#[test]
fn a_readback_of_several_pieces_is_whole() {
    let gpu = open(OpenOptions::default());
    let values = pattern((96 << 20) + 5, 1);
    let tensor = Tensor::from_bytes(&gpu, &[values.len()], DType::U8, KIND, &values).unwrap();
    assert!(block_on(tensor.download()).unwrap() == values);
    let middle = tensor.rows(3..(70 << 20) + 2).unwrap();
    assert!(block_on(middle.download()).unwrap() == values[3..(70 << 20) + 2]);
}

#[test]
fn views_read_and_write_their_own_bytes() {
    let gpu = open(OpenOptions::default());
    let mut values = pattern(7 * 6, 0);
    let tensor = Tensor::from_bytes(&gpu, &[7, 3], DType::F16, KIND, &values).unwrap();
    for rows in [0..1, 1..4, 2..2, 5..7, 0..7] {
        let bytes = &values[rows.start * 6..rows.end * 6];
        assert_eq!(
            block_on(tensor.rows(rows.clone()).unwrap().download()).unwrap(),
            bytes,
            "{rows:?}"
        );
    }
    let new = pattern(12, 77);
    tensor.rows(2..4).unwrap().upload(&new).unwrap();
    values[12..24].copy_from_slice(&new);
    tensor.rows(6..7).unwrap().upload(&new[..6]).unwrap();
    values[36..42].copy_from_slice(&new[..6]);
    assert_eq!(block_on(tensor.download()).unwrap(), values);
    // Bytes 6 to 12 start inside a word.
    let error = tensor.rows(1..2).unwrap().upload(&new[..6]).unwrap_err();
    assert!(matches!(error, Error::Argument { op: "upload", .. }), "{error}");
    assert_eq!(block_on(tensor.download()).unwrap(), values);
}

#[test]
fn poisoned_memory_is_nan_when_new_and_when_reused() {
    let gpu = open(OpenOptions {
        poison: true,
        ..OpenOptions::default()
    });
    for _ in 0..2 {
        let tensor = Tensor::empty(&gpu, &[1000], DType::F32, KIND).unwrap();
        assert!(
            block_on(tensor.to_f32())
                .unwrap()
                .iter()
                .all(|value| value.is_nan())
        );
        tensor.upload(&[0; 4000]).unwrap();
    }
    assert_eq!(gpu.reserved_bytes(), 4000);
}

/// A splitmix64 step: numbers enough for a test.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn the_pool_never_holds_more_than_the_peak() {
    let gpu = open(OpenOptions::default());
    let mut state = 7;
    let mut live: Vec<(Tensor<Wgpu>, Vec<u8>)> = Vec::new();
    for step in 0..2000 {
        if live.len() > 20 || (!live.is_empty() && random(&mut state).is_multiple_of(2)) {
            let (tensor, values) = live.swap_remove(random(&mut state) as usize % live.len());
            // Reuse before anything was submitted must not change what another tensor holds.
            if step % 50 == 0 {
                assert!(block_on(tensor.download()).unwrap() == values);
            }
        } else {
            let len = 1 + random(&mut state) as usize % 12 * 1000;
            let values = pattern(len, step);
            live.push((
                Tensor::from_bytes(&gpu, &[len], DType::U8, KIND, &values).unwrap(),
                values,
            ));
        }
        let report = gpu.ledger().report();
        assert!(
            gpu.reserved_bytes() <= report.peak,
            "{} of {report:?}",
            gpu.reserved_bytes()
        );
        assert!(gpu.reserved_bytes() >= report.live);
    }
    for (tensor, values) in &live {
        assert!(block_on(tensor.download()).unwrap() == *values);
    }
    drop(live);
    assert_eq!(gpu.ledger().report().live, 0);
}

#[test]
fn the_same_sizes_again_take_no_new_memory() {
    let gpu = open(OpenOptions::default());
    let step = || -> Vec<_> {
        [100, 200, 300, 100]
            .map(|len| Tensor::empty(&gpu, &[len], DType::F32, KIND).unwrap())
            .into()
    };
    drop(step());
    let held = gpu.reserved_bytes();
    assert_eq!(held, (112 * 2 - 24 + 200 + 304 - 4) * 4);
    for _ in 0..10 {
        drop(step());
        assert_eq!(gpu.reserved_bytes(), held);
    }
}

#[test]
fn a_limit_and_the_largest_buffer_refuse_with_figures() {
    let gpu = open(OpenOptions {
        memory_limit: Some(10_000),
        ..OpenOptions::default()
    });
    let kept = Tensor::empty(&gpu, &[1000], DType::F32, KIND).unwrap();
    drop(Tensor::empty(&gpu, &[1200], DType::F32, KIND).unwrap());
    let Error::OutOfMemory {
        requested,
        live,
        peak,
        ..
    } = Tensor::empty(&gpu, &[2000], DType::F32, KIND).unwrap_err()
    else {
        panic!("another error")
    };
    assert_eq!((requested, live, peak), (8000, 4000, 8800));
    assert_eq!(gpu.ledger().report().live, 4000);

    gpu.ledger().set_limit(None);
    let most = gpu.caps().max_buffer_bytes as usize;
    let Error::OutOfMemory {
        requested,
        live,
        peak,
        reason,
    } = Tensor::empty(&gpu, &[most + 16], DType::U8, KIND).unwrap_err()
    else {
        panic!("another error")
    };
    assert_eq!((requested, peak), (most as u64 + 16, 8800), "{reason}");
    assert!(live == 4000 || live == 4000 + requested, "{live}");
    assert_eq!(gpu.ledger().report().live, 4000);
    // The device is as good as before.
    kept.upload(&[1; 4000]).unwrap();
    assert_eq!(block_on(kept.download()).unwrap(), [1; 4000]);
}

/// The driver itself refuses: in a process of its own, which may have no more than 6 GB of addresses.
#[cfg(target_os = "linux")]
#[test]
fn a_driver_without_memory_is_an_error_and_works_on() {
    const CHILD: &str = "ANYLORA_TEST_LIMITED";
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new("sh")
            .args([
                "-c",
                "ulimit -v 6000000; exec \"$0\" --exact a_driver_without_memory_is_an_error_and_works_on",
            ])
            .arg(std::env::current_exe().unwrap())
            .env(CHILD, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    const GIB: usize = 1 << 30;
    let gpu = open(OpenOptions::default());
    let mut kept = Vec::new();
    let error = loop {
        assert!(kept.len() < 8, "nothing was refused");
        match Tensor::empty(&gpu, &[GIB], DType::U8, KIND) {
            Ok(tensor) => kept.push(tensor),
            Err(error) => break error,
        }
    };
    let Error::OutOfMemory { requested, peak, .. } = error else {
        panic!("{error}")
    };
    assert_eq!((requested, peak), (GIB as u64, (kept.len() * GIB) as u64));
    assert_eq!(gpu.ledger().report().live, peak);
    assert_eq!(gpu.reserved_bytes(), peak);
    kept.pop();
    let tensor = Tensor::from_f32(&gpu, &[1000], KIND, &[2.0; 1000]).unwrap();
    assert_eq!(block_on(tensor.to_f32()).unwrap(), [2.0; 1000]);
    assert!(gpu.reserved_bytes() <= peak);
}
