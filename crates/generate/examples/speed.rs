//! Tokens per second of the CPU engine: reading a prompt of 512 tokens, and generating 64 after it.
//!
//! `RAYON_NUM_THREADS=2 cargo run --release -p anylora-generate --example speed -- MODEL [nf4]`

use std::ops::ControlFlow;
use std::time::Instant;

use anylora_checkpoint::Checkpoint;
use anylora_engine::Backend;
use anylora_engine_burn::Cpu;
use anylora_generate::{Event, GenerationOptions, Prompter, Session, generate};
use anylora_models::{LoadOptions, Loader, Quantization};

const PROMPT: usize = 512;
const NEW: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which model? speed MODEL [nf4]")?;
    let options = LoadOptions {
        quantization: arguments.next().map(|_| Quantization::nf4()),
        ..LoadOptions::default()
    };
    let checkpoint = Checkpoint::open(path.as_ref())?;
    let prompter = Prompter::new(&checkpoint)?;
    let backend = Cpu::new(None);
    let begin = Instant::now();
    let model = Loader::load(&backend, &checkpoint, options, |_, _| {})?;
    println!("loaded in {:.2} s", begin.elapsed().as_secs_f64());
    let prompt: Vec<u32> = (0..PROMPT as u32).map(|i| 1000 + i * 7 % 5000).collect();
    let options = GenerationOptions {
        max_tokens: NEW,
        ..GenerationOptions::default()
    };
    // The second run counts: the first one's caches are cold.
    for run in 1..=2 {
        let mut session = Session::new(&model, None);
        let begin = Instant::now();
        let mut read = begin;
        let answer = pollster::block_on(generate(&mut session, &prompter, &prompt, &options, |event| {
            if matches!(event, Event::Prompt { .. }) {
                read = Instant::now();
            }
            ControlFlow::Continue(())
        }))?;
        let prefill = PROMPT as f64 / (read - begin).as_secs_f64();
        let decode = answer.tokens.len() as f64 / read.elapsed().as_secs_f64();
        println!(
            "run {run}: prefill {prefill:.1} tokens/s, decode {decode:.1} tokens/s ({} tokens)",
            answer.tokens.len()
        );
    }
    println!(
        "{:.1} MB on the device at the highest",
        backend.ledger().report().peak as f64 / 1e6
    );
    Ok(())
}
