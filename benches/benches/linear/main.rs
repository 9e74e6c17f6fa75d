//! linear and linear_backward side by side in one run: dense f32, NF4, NF4 with double quantization, and, with
//! `--features compare`, burn-wgpu's f32 matmul after its tuning.
//!
//! Arguments choose among the shapes by name (`135m`, `1b`, `7b`) and rows (`m1`, `m128`, `m512`); by default, all of
//! them on a GPU, and those of a 135M model on a software adapter. All of a line are timed in turns, so that the
//! machine's other load falls on all alike. Every timing ends with the values on the host; medians.

#[cfg(feature = "compare")]
mod burn;

use std::time::{Duration, Instant};

use anylora_benches::{is_software, median, on_device, random};
use anylora_engine::{Backend, DType, Linear, LinearBackward, MemoryKind, Result, Tensor, Weight};
use anylora_quant::{BlockSize, Codebook, quantize};
use pollster::block_on;

/// Model, N and K: up_proj of SmolLM2-135M, of Llama 3.2 1B and of Llama 2 7B.
const SHAPES: [(&str, usize, usize); 3] = [("135m", 1536, 576), ("1b", 8192, 2048), ("7b", 11008, 4096)];
const ROWS: [usize; 3] = [1, 128, 512];

/// Something to time: its name, and what it is compared with.
struct Timed<'a> {
    name: &'static str,
    /// The place of the dense one.
    against: usize,
    run: Box<dyn Fn() -> Result<()> + 'a>,
}

fn measure<B: Backend>(gpu: &B, name: &str, [m, n, k]: [usize; 3], rounds: usize) -> Result<()> {
    let values = random(n * k);
    let Ok(nf4) = quantize(&values, Codebook::Nf4, BlockSize::default()) else {
        panic!("weights are finite")
    };
    let Ok(double) = nf4.clone().double_quantize() else {
        panic!("absmax are finite")
    };
    let dense = Weight::dense(gpu, [n, k], DType::F32, bytemuck::cast_slice(&values))?;
    let nf4 = Weight::quantized(gpu, [n, k], &nf4)?;
    let double = Weight::quantized(gpu, [n, k], &double)?;
    let tensor =
        |columns: usize| Tensor::from_f32(gpu, &[m, columns], MemoryKind::Activations, &random(m * columns));
    let [x, dx, y, dy] = [tensor(k)?, tensor(k)?, tensor(n)?, tensor(n)?];
    let forward = |weight: &Weight<B>| {
        gpu.linear(Linear {
            x: &x,
            weight,
            bias: None,
            lora: None,
            y: &y,
        })?;
        block_on(y.download()).map(drop)
    };
    let backward = |weight: &Weight<B>| {
        gpu.linear_backward(LinearBackward {
            dy: &dy,
            weight,
            lora: None,
            dx: &dx,
        })?;
        block_on(dx.download()).map(drop)
    };
    #[cfg(feature = "compare")]
    let product = burn::Product::new(is_software(gpu), [m, n, k]);
    #[cfg_attr(
        not(feature = "compare"),
        expect(unused_mut, reason = "burn-wgpu is one more")
    )]
    let mut all: Vec<Timed<'_>> = vec![
        Timed {
            name: "f32 forward",
            against: 0,
            run: Box::new(|| forward(&dense)),
        },
        Timed {
            name: "NF4 forward",
            against: 0,
            run: Box::new(|| forward(&nf4)),
        },
        Timed {
            name: "NF4+DQ forward",
            against: 0,
            run: Box::new(|| forward(&double)),
        },
        Timed {
            name: "f32 backward",
            against: 3,
            run: Box::new(|| backward(&dense)),
        },
        Timed {
            name: "NF4 backward",
            against: 3,
            run: Box::new(|| backward(&nf4)),
        },
        Timed {
            name: "NF4+DQ backward",
            against: 3,
            run: Box::new(|| backward(&double)),
        },
    ];
    #[cfg(feature = "compare")]
    all.push(Timed {
        name: "burn-wgpu f32",
        against: 0,
        run: Box::new(|| {
            product.run();
            Ok(())
        }),
    });

    // Kernels are compiled, and burn-wgpu tunes itself, before anything is timed.
    for timed in &all {
        (timed.run)()?;
        (timed.run)()?;
    }
    let mut times = vec![Vec::new(); all.len()];
    for _ in 0..rounds {
        for (timed, times) in all.iter().zip(&mut times) {
            let start = Instant::now();
            (timed.run)()?;
            times.push(start.elapsed());
        }
    }
    let medians: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    println!("{name}: M {m}, N {n}, K {k}, {rounds} rounds");
    for (timed, median) in all.iter().zip(&medians) {
        let seconds = median.as_secs_f64();
        println!(
            "  {:16} {:9.2} ms {:8.2} GFLOP/s  {:5.2} of f32's time",
            timed.name,
            1e3 * seconds,
            2e-9 * (m * n * k) as f64 / seconds,
            seconds / medians[timed.against].as_secs_f64(),
        );
    }
    Ok(())
}

fn main() {
    on_device!(|gpu| all(gpu));
}

fn all<B: Backend>(gpu: &B) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let test = arguments.iter().any(|argument| argument == "--test");
    let chosen = |name: &str, all: &[String]| {
        let asked = all.iter().any(|of| arguments.contains(of));
        !asked || arguments.iter().any(|argument| argument == name)
    };
    let models: Vec<String> = SHAPES.iter().map(|(model, ..)| (*model).to_owned()).collect();
    let rows: Vec<String> = ROWS.iter().map(|rows| format!("m{rows}")).collect();
    let any_model = models.iter().any(|model| arguments.contains(model));
    for (model, n, k) in SHAPES {
        if !chosen(model, &models) || (is_software(gpu) && !any_model && model != "135m") {
            continue;
        }
        for m in ROWS {
            if !chosen(&format!("m{m}"), &rows) || (test && m > 1) {
                continue;
            }
            // On a software adapter, large products take seconds.
            let rounds = match m * n * k {
                _ if test => 1,
                size if is_software(gpu) && size > 1 << 31 => 3,
                size if is_software(gpu) && size > 1 << 28 => 7,
                _ => 21,
            };
            let result = measure(gpu, model, [m, n, k], rounds);
            assert!(result.is_ok(), "{result:?}");
        }
    }
}
