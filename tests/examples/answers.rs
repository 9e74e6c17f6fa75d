//! What the native engine answers: the browser tests compare the page with it.
//!
//! Reads from stdin `{"model": DIR, "cases": [{"prompt": TEXT, "adapter": DIR or null, "scale": 1, "maxTokens": 8}]}` and
//! prints for each case `{"logits": [V], "tokens": [..], "text": TEXT}`: the logits that follow the raw prompt, and the
//! greedy answer. On the software adapter.

use std::error::Error;
use std::io::Read;
use std::ops::ControlFlow;
use std::path::PathBuf;

use anylora_checkpoint::{Adapter, Checkpoint};
use anylora_engine::DeviceSpec;
use anylora_engine_wgpu::{OpenOptions, Wgpu};
use anylora_generate::{GenerationOptions, Prompter, Session, generate};
use anylora_models::{LoadOptions, Loader, Model, adapters};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Request {
    model: PathBuf,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    prompt: String,
    adapter: Option<PathBuf>,
    scale: f32,
    max_tokens: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let request: Request = serde_json::from_str(&text)?;
    let gpu = pollster::block_on(Wgpu::open(DeviceSpec::Software, OpenOptions::default()))?;
    let checkpoint = Checkpoint::open(&request.model)?;
    let model = Loader::load(&gpu, &checkpoint, LoadOptions::default(), |_, _| {})?;
    let prompter = Prompter::new(&checkpoint)?;
    let answers = request.cases.iter().map(|case| answer(&model, &prompter, case));
    let answers = answers.collect::<Result<Vec<_>, _>>()?;
    println!("{}", Value::Array(answers));
    Ok(())
}

fn answer(model: &Model<Wgpu>, prompter: &Prompter, case: &Case) -> Result<Value, Box<dyn Error>> {
    let adapter = case.adapter.as_ref().map(|path| {
        let adapter = Adapter::open(path)?;
        let adapters = adapters(model.backend(), &model.config, &adapter, false)?;
        Ok::<_, Box<dyn Error>>(adapters.scaled(case.scale))
    });
    let adapter = adapter.transpose()?;
    let prompt = prompter.raw(&case.prompt)?;
    let logits = pollster::block_on(Session::new(model, adapter.as_ref()).read(&prompt, 0))?;
    let options = GenerationOptions {
        max_tokens: case.max_tokens,
        ..GenerationOptions::default()
    };
    let mut session = Session::new(model, adapter.as_ref());
    let go_on = |_: anylora_generate::Event<'_>| ControlFlow::Continue(());
    let generated = pollster::block_on(generate(&mut session, prompter, &prompt, &options, go_on))?;
    Ok(json!({"logits": logits, "tokens": generated.tokens, "text": generated.text}))
}
