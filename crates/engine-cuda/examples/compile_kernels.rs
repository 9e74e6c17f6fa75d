//! Compiles every variant of every kernel with NVRTC to PTX for each architecture, and for the first one on to a binary,
//! which has the inline assembly checked too, and tells whether values spill from registers. It needs no GPU.
//!
//!     cargo run -p anylora-engine-cuda --example compile_kernels -- LIBNVRTC ARCHITECTURE...
//!
//! An architecture is a compute capability without its point: 80, 89, 90.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anylora_engine_cuda::{Compiler, Program};

/// What a thread may spill at most, in bytes: products on tensor cores give some words for a second block on a
/// multiprocessor. An array that is indexed at run time would spill hundreds.
const SPILLED: usize = 64;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let library = arguments.next().unwrap_or_default();
    let architectures: Vec<String> = arguments.collect();
    if architectures.is_empty() {
        eprintln!(
            "usage: compile_kernels LIBNVRTC ARCHITECTURE...\nexample: compile_kernels libnvrtc.so.12 80 89 90"
        );
        return ExitCode::from(2);
    }
    match compile(Path::new(&library), &architectures) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Compiles one.
fn check(compiler: &Compiler, program: &Program, target: &str) -> Result<(), String> {
    let further: &[&str] = match target.starts_with("sm_") {
        true => &["--ptxas-options=-v"],
        false => &[],
    };
    let image = compiler
        .compile(program, target, further)
        .map_err(|error| error.to_string())?;
    let spilled = image.log.split(',').filter_map(|part| {
        let bytes = part.trim().strip_suffix(" bytes spill stores")?;
        bytes.parse::<usize>().ok()
    });
    match spilled.max() {
        Some(bytes) if bytes > SPILLED => Err(format!(
            "{program} for {target}: a thread spills {bytes} bytes, {SPILLED} at most were expected"
        )),
        _ => Ok(()),
    }
}

/// Compiles all, on every core, and says how much that was.
fn compile(library: &Path, architectures: &[String]) -> Result<String, String> {
    let compiler = Compiler::at(library)?;
    let begin = Instant::now();
    let programs = Program::all();
    let jobs: Vec<(&Program, String)> = programs
        .iter()
        .flat_map(|program| {
            let targets = architectures.iter().enumerate().map(|(place, architecture)| {
                let kind = if place == 0 { "sm" } else { "compute" };
                format!("{kind}_{architecture}")
            });
            targets.map(move |target| (program, target))
        })
        .collect();
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let seconds: Mutex<BTreeMap<&str, f64>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((program, target)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let begin = Instant::now();
                    if let Err(error) = check(&compiler, program, target)
                        && let Ok(mut failures) = failures.lock()
                    {
                        failures.push(error);
                    }
                    if let Ok(mut seconds) = seconds.lock() {
                        *seconds.entry(program.file).or_default() += begin.elapsed().as_secs_f64();
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_default();
    if !failures.is_empty() {
        return Err(format!(
            "{} of {} failed:\n{}",
            failures.len(),
            jobs.len(),
            failures.join("\n")
        ));
    }
    let (major, minor) = compiler.version();
    Ok(format!(
        "NVRTC {major}.{minor}: {} variants of {} files, each for sm_{}, in {:.0} s",
        programs.len(),
        seconds.into_inner().unwrap_or_default().len(),
        architectures.join(", sm_"),
        begin.elapsed().as_secs_f64()
    ))
}
