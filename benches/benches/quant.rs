//! NF4 quantize and dequantize beside a memory copy, in GB/s.
//!
//! Bytes are those read plus those written, on both sides. A weight of `n` values in blocks of 64 moves
//! `4.5625 n` bytes: 4 each in f32, half a byte of code, 1/16 of absmax (1/64 and a little when double
//! quantized). The copy beside it copies half as many, which it reads and writes: the same traffic.
//! `copy` runs on as many threads as the quantizer, each with one contiguous part; `copy, 1 thread` is one
//! `memcpy`. All buffers are touched before they are timed.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anylora_quant::{BlockSize, Codebook, Quantized4, quantize};
use criterion::{Criterion, Throughput, criterion_group};
use rayon::prelude::*;

/// A q_proj of a 7B model, beyond most caches; an up_proj of SmolLM2-135M, within the last level.
const SHAPES: [(usize, usize); 2] = [(4096, 4096), (1536, 576)];

/// Weights, their quantizations, and room for what is written.
struct Weight {
    name: String,
    values: Vec<f32>,
    nf4: Quantized4,
    nf4_dq: Quantized4,
    out: Vec<f32>,
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Weight {
    fn new((rows, columns): (usize, usize)) -> Self {
        // A sum of uniform numbers, about normal: an xorshift needs no dependency.
        let mut state = 0x9E37_79B9_7F4A_7C15u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32 - 0.5
        };
        let values: Vec<f32> = (0..rows * columns)
            .map(|_| 0.02 * (0..4).map(|_| uniform()).sum::<f32>())
            .collect();
        let Ok(nf4) = quantize(&values, Codebook::Nf4, BlockSize::default()) else {
            panic!("weights are finite")
        };
        let Ok(nf4_dq) = nf4.clone().double_quantize() else {
            panic!("absmax are finite")
        };
        let copied = (4 * values.len() + nf4.size_bytes()) / 2;
        Self {
            name: format!("{rows}x{columns}"),
            out: vec![1.0; values.len()],
            from: vec![1; copied],
            to: vec![2; copied],
            values,
            nf4,
            nf4_dq,
        }
    }

    /// Bytes read and written from f32 to NF4 or back.
    fn traffic(&self) -> usize {
        4 * self.values.len() + self.nf4.size_bytes()
    }

    fn copy(&mut self, threads: usize) {
        let part = self.from.len().div_ceil(threads);
        if threads == 1 {
            self.to.copy_from_slice(&self.from);
        } else {
            let parts = self.to.par_chunks_mut(part).zip(self.from.par_chunks(part));
            parts.for_each(|(to, from)| to.copy_from_slice(from));
        }
        black_box(&mut self.to);
    }

    fn quantize(&mut self, double: bool) {
        let quantized = quantize(&self.values, Codebook::Nf4, BlockSize::default());
        let _ = black_box(if double {
            quantized.and_then(Quantized4::double_quantize)
        } else {
            quantized
        });
    }

    fn dequantize(&mut self, double: bool) {
        let quantized = if double { &self.nf4_dq } else { &self.nf4 };
        let result = quantized.dequantize_into(&mut self.out);
        assert!(result.is_ok(), "{result:?}");
        black_box(&mut self.out);
    }
}

type Operation = (&'static str, fn(&mut Weight));

const OPERATIONS: [Operation; 6] = [
    ("copy", |w| w.copy(rayon::current_num_threads())),
    ("copy, 1 thread", |w| w.copy(1)),
    ("dequantize NF4", |w| w.dequantize(false)),
    ("dequantize NF4+DQ", |w| w.dequantize(true)),
    ("quantize NF4", |w| w.quantize(false)),
    ("quantize NF4+DQ", |w| w.quantize(true)),
];

fn with_criterion(criterion: &mut Criterion) {
    for shape in SHAPES {
        let mut weight = Weight::new(shape);
        let mut group = criterion.benchmark_group(format!("quant {}", weight.name));
        group.throughput(Throughput::Bytes(weight.traffic() as u64));
        group
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2))
            .sample_size(20);
        for (name, operation) in OPERATIONS {
            group.bench_function(name, |bencher| bencher.iter(|| operation(&mut weight)));
        }
    }
}

/// The operations in turns, so that the machine's other load falls on all of them alike: medians, and the
/// bandwidth of each as a share of the copy's.
fn side_by_side() {
    for shape in SHAPES {
        let mut weight = Weight::new(shape);
        let mut times = [const { Vec::new() }; OPERATIONS.len()];
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(4) {
            for ((_, operation), times) in OPERATIONS.iter().zip(&mut times) {
                let start = Instant::now();
                operation(&mut weight);
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let medians = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        });
        println!(
            "{}, {} threads, {} bytes read and written:",
            weight.name,
            rayon::current_num_threads(),
            weight.traffic()
        );
        for ((name, _), time) in OPERATIONS.iter().zip(medians) {
            let speed = weight.traffic() as f64 / time / 1e9;
            println!("  {name:18} {speed:7.2} GB/s  {:5.2} of copy", medians[0] / time);
        }
    }
}

criterion_group!(benches, with_criterion);

fn main() {
    // `cargo test` runs benches once with `--test`, to see that they work.
    if !std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        side_by_side();
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
