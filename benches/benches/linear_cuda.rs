//! What training a 7B model multiplies, on CUDA's tensor cores: NF4 forward and backward beside dense bf16 weights, at
//! M = 2048 and the shapes of LLaMA 7B, in TFLOP/s and as a share of the GPU's dense bf16 peak.
//!
//! The peak is what was measured: the most of all dense products of this run, of which a square of 8192 is the first.
//! `peak=660` puts a higher one in its place that something else measured on the same GPU, such as
//! `benches/peers/train_7b_cuda.py`, which asks PyTorch. `ANYLORA_DEVICE=cuda:N` names the GPU. All of a shape take turns,
//! so that clocks and heat are the same for all; a turn is some launches and a wait for them; medians.

use std::time::{Duration, Instant};

use anylora_benches::{fail, median, random};
use anylora_engine::{
    Backend, DType, DeviceSpec, Linear, LinearBackward, MemoryKind, Result, Tensor, Weight,
};
use anylora_engine_cuda::Cuda;
use anylora_quant::{BlockSize, Codebook, quantize};
use half::bf16;
use pollster::block_on;

/// Layers, N and K: q_proj, k_proj, v_proj and o_proj; gate_proj and up_proj; down_proj of LLaMA 7B.
const SHAPES: [(&str, usize, usize); 3] = [
    ("attention", 4096, 4096),
    ("gate, up", 11_008, 4096),
    ("down", 4096, 11_008),
];
const ROWS: usize = 2048;
/// Launches a turn, and turns.
const LAUNCHES: u32 = 10;
const TURNS: usize = 15;

/// Something to time.
struct Timed<'a> {
    name: &'static str,
    /// Whether its speed may be the peak.
    dense: bool,
    run: Box<dyn Fn() -> Result<()> + 'a>,
}

/// What one product took.
struct Line {
    name: &'static str,
    dense: bool,
    teraflops: f64,
    time: Duration,
}

fn halves(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|value| bf16::from_f32(*value)).collect()
}

/// Operands and results of a shape.
struct Operands {
    x: Tensor<Cuda>,
    y: Tensor<Cuda>,
    dy: Tensor<Cuda>,
    dx: Tensor<Cuda>,
}

impl Operands {
    fn new(gpu: &Cuda, [m, n, k]: [usize; 3]) -> Result<Self> {
        let tensor = |columns: usize| {
            let values = halves(&random(m * columns));
            Tensor::from_bytes(
                gpu,
                &[m, columns],
                DType::BF16,
                MemoryKind::Activations,
                bytemuck::cast_slice(&values),
            )
        };
        Ok(Self {
            x: tensor(k)?,
            y: tensor(n)?,
            dy: tensor(n)?,
            dx: tensor(k)?,
        })
    }

    fn forward(&self, gpu: &Cuda, weight: &Weight<Cuda>) -> Result<()> {
        gpu.linear(Linear {
            x: &self.x,
            weight,
            bias: None,
            lora: None,
            y: &self.y,
        })
    }

    fn backward(&self, gpu: &Cuda, weight: &Weight<Cuda>) -> Result<()> {
        gpu.linear_backward(LinearBackward {
            dy: &self.dy,
            weight,
            lora: None,
            dx: &self.dx,
        })
    }
}

fn measure(gpu: &Cuda, [m, n, k]: [usize; 3], packed: bool, turns: usize) -> Result<Vec<Line>> {
    let values = random(n * k);
    let bits = halves(&values);
    let dense = Weight::dense(gpu, [n, k], DType::BF16, bytemuck::cast_slice(&bits))?;
    let weights = if packed {
        let Ok(nf4) = quantize(&values, Codebook::Nf4, BlockSize::default()) else {
            panic!("weights are finite")
        };
        let Ok(double) = nf4.clone().double_quantize() else {
            panic!("absmax are finite")
        };
        let [nf4, double] = [nf4, double].map(|packed| Weight::quantized(gpu, [n, k], &packed));
        vec![
            (["NF4 forward", "NF4 backward"], nf4?),
            (["NF4+DQ forward", "NF4+DQ backward"], double?),
        ]
    } else {
        Vec::new()
    };
    let operands = Operands::new(gpu, [m, n, k])?;
    let operands = &operands;
    let wait = || block_on(gpu.synchronize());
    let dense = [(["bf16 forward", "bf16 backward"], dense)];
    let mut all: Vec<Timed<'_>> = Vec::new();
    for (names, weight) in dense.iter().chain(&weights) {
        let is_dense = names[0].starts_with("bf16");
        all.push(Timed {
            name: names[0],
            dense: is_dense,
            run: Box::new(move || operands.forward(gpu, weight)),
        });
        all.push(Timed {
            name: names[1],
            dense: is_dense,
            run: Box::new(move || operands.backward(gpu, weight)),
        });
    }

    let turn = |timed: &Timed<'_>| -> Result<Duration> {
        wait()?;
        let start = Instant::now();
        for _ in 0..LAUNCHES {
            (timed.run)()?;
        }
        wait()?;
        Ok(start.elapsed() / LAUNCHES)
    };
    // Kernels are compiled before anything is timed.
    for timed in &all {
        turn(timed)?;
    }
    let mut times = vec![Vec::new(); all.len()];
    for _ in 0..turns {
        for (timed, times) in all.iter().zip(&mut times) {
            times.push(turn(timed)?);
        }
    }
    let line = |(timed, times): (&Timed<'_>, &mut Vec<Duration>)| {
        let time = median(times);
        Line {
            name: timed.name,
            dense: timed.dense,
            teraflops: 2e-12 * (m * n * k) as f64 / time.as_secs_f64(),
            time,
        }
    };
    Ok(all.iter().zip(&mut times).map(line).collect())
}

fn run(gpu: &Cuda, given: Option<f64>, turns: usize) -> Result<()> {
    let cube = measure(gpu, [8192; 3], false, turns)?;
    let mut shapes = vec![("square", [8192; 3], cube)];
    for (name, n, k) in SHAPES {
        shapes.push((name, [ROWS, n, k], measure(gpu, [ROWS, n, k], true, turns)?));
    }
    let dense = shapes
        .iter()
        .flat_map(|(.., lines)| lines)
        .filter(|line| line.dense);
    let measured = dense.map(|line| line.teraflops).fold(0.0, f64::max);
    let peak = given.map_or(measured, |given| given.max(measured));
    println!("dense bf16 peak: {peak:.0} TFLOP/s");
    for (name, [m, n, k], lines) in shapes {
        println!("{name}: M {m}, N {n}, K {k}, {turns} turns of {LAUNCHES}");
        for line in lines {
            println!(
                "  {:16} {:9.3} ms {:8.1} TFLOP/s  {:5.2} of the peak",
                line.name,
                1e3 * line.time.as_secs_f64(),
                line.teraflops,
                line.teraflops / peak
            );
        }
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("peak="))
        .map(|text| text.parse::<f64>().unwrap_or_else(|error| fail(&error)));
    let turns = if arguments.iter().any(|argument| argument == "--test") {
        1
    } else {
        TURNS
    };
    let spec = std::env::var("ANYLORA_DEVICE")
        .map_or(Ok(DeviceSpec::Cuda(None)), |name| name.parse())
        .unwrap_or_else(|error| fail(&error));
    let gpu = anylora_benches::cuda(spec).unwrap_or_else(|error| fail(&error));
    if let Err(error) = run(&gpu, given, turns) {
        fail(&error);
    }
}
