#!/usr/bin/env python3
"""QLoRA training steps of SmolLM2-135M on the CPU: AnyLoRA beside PEFT with bitsandbytes, in turns.

    pip install torch transformers peft bitsandbytes gguf
    benches/peers/train_peft.py SmolLM2-135M-Instruct.Q4_1.gguf [--rounds 2] [--steps 6]

Both train adapters of rank 16 on q_proj and v_proj from the same start, over NF4 with double quantization, in f32, on
the same rows of 4 x 128 tokens, all trained, with AdamW and without recomputing. Each turn is a process of its own.
Printed for each: the median seconds of a step but the first, tokens a second, the process's peak resident memory, and
the losses, which show that both do the same.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROWS, TIME = 4, 128


def rows(steps):
    """`steps` batches of 4 rows of the recorded text."""
    from safetensors.numpy import load_file

    ids = load_file(ROOT / "tests/fixtures/smollm2/batches.safetensors")["input_ids"].reshape(-1, TIME)
    return [ids[(i * ROWS + row) % len(ids)].tolist() for i in range(steps) for row in range(ROWS)]


def dense(gguf, out):
    """The model as a folder of f32 weights: transformers neither quantizes nor saves what it reads from GGUF."""
    import torch
    from safetensors.torch import save_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    out.mkdir()
    del model.config.quantization_config
    model.config.save_pretrained(out)
    save_model(model, str(out / "model.safetensors"), metadata={"format": "pt"})


def peft(model, start, steps):
    """A turn of theirs: seconds and losses as JSON on stdout."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    torch.manual_seed(0)
    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, quantization_config=quantization)
    if start.exists():
        trained = PeftModel.from_pretrained(base, start, is_trainable=True)
    else:
        config = LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=["q_proj", "v_proj"])
        trained = get_peft_model(base, config)
        trained.save_pretrained(start)
    trained.train()
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.01)
    seconds, losses = [], []
    data = torch.tensor(rows(steps)).reshape(steps, ROWS, TIME)
    for ids in data:
        begin = time.perf_counter()
        loss = trained(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        seconds.append(time.perf_counter() - begin)
    print(json.dumps({"seconds": seconds, "losses": losses}))


def ours(anylora, model, start, steps, work):
    """A turn of ours."""
    data, out = work / "rows.jsonl", work / f"run{time.monotonic_ns()}"
    data.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows(steps)))
    command = [anylora, "train", "--model", model, "--data", data, "--out", out, "--adapter-init", start]
    command += f"--device cpu --quant nf4 --batch-size {ROWS} --max-length {TIME} --steps {steps}".split()
    command += "--packing false --shuffle false --recompute false --schedule constant --warmup-steps 0".split()
    command += "--lr 2e-4 --weight-decay 0.01 --clip 0".split()
    _, peak = run(command)
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {"seconds": [m["seconds"] for m in metrics], "losses": [m["loss"] for m in metrics]}, peak


def run(command):
    """A process's stdout, and the most memory that it had resident, in MB."""
    child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    stdout, stderr = child.stdout.read(), child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} failed: {stderr.decode()}")
    return stdout.decode(), usage.ru_maxrss * 1024 / 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="SmolLM2-135M-Instruct as GGUF")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each")
    parser.add_argument("--steps", type=int, default=6, help="steps a turn, the first not counted")
    parser.add_argument("--anylora", type=Path, help="our program, where it is built already")
    parser.add_argument("--dense", type=Path, help="the same model as transformers saves it in f32, where there is one")
    arguments = parser.parse_args()
    anylora = arguments.anylora
    if anylora is None:
        subprocess.run(["cargo", "build", "--locked", "--quiet", "--release", "-p", "anylora"], cwd=ROOT, check=True)
        metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
        metadata = json.loads(subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True).stdout)
        anylora = Path(metadata["target_directory"]) / "release/anylora"
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        base, start = arguments.dense or work / "dense", work / "start"
        if not base.exists():
            run([sys.executable, __file__, "dense", arguments.model.resolve(), base])
        run([sys.executable, __file__, "peft", base, start, 0])
        turns = {"PEFT + bitsandbytes": [], "AnyLoRA": []}
        for _ in range(arguments.rounds):
            stdout, peak = run([sys.executable, __file__, "peft", base, start, arguments.steps])
            turns["PEFT + bitsandbytes"].append((json.loads(stdout), peak))
            turns["AnyLoRA"].append(ours(anylora, arguments.model, start, arguments.steps, work))
    medians, peaks = {}, {}
    for name, results in turns.items():
        seconds = [second for result, _ in results for second in result["seconds"][1:]]
        medians[name], peaks[name] = statistics.median(seconds), max(peak for _, peak in results)
        losses = " ".join(f"{loss:.6f}" for loss in results[0][0]["losses"])
        speed = ROWS * TIME / medians[name]
        print(f"{name:20} {medians[name]:.2f} s a step, {speed:.0f} tokens/s, peak resident {peaks[name]:.0f} MB")
        print(f"{'':20} {min(seconds):.2f} to {max(seconds):.2f} s; losses {losses}")
    (theirs, us), (their_peak, our_peak) = medians.values(), peaks.values()
    print(f"AnyLoRA: {theirs / us:.2f} times the speed, {our_peak / their_peak:.2f} of the memory")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["dense", gguf, out]:
            dense(Path(gguf), Path(out))
        case ["peft", model, start, steps]:
            peft(Path(model), Path(start), int(steps))
        case _:
            main()
