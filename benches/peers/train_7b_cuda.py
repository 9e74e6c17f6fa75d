#!/usr/bin/env python3
"""Training steps of a 7B-shaped model from random weights on an NVIDIA GPU: AnyLoRA beside PEFT with bitsandbytes, in turns.

    pip install torch transformers peft bitsandbytes accelerate nvidia-cuda-nvrtc-cu12
    benches/peers/train_7b_cuda.py [--quant none nf4] [--batch 1x2048 8x512] [--rounds 2] [--steps 6]

LoRA over bf16 weights (`none`) and QLoRA over NF4 with double quantization (`nf4`): adapters of rank 16 on all linear layers
from the same start, on the same tokens, all trained, with AdamW, bf16 activations, f32 adapters, and blocks recomputed in
backward (theirs: gradient checkpointing, SDPA, autocast). Each turn is a process of its own. Printed for each: the median
seconds of a step but the first two, tokens a second, the peak of device memory that its allocator held and that nvidia-smi
saw, and the losses, which show that both do the same. First the GPU's dense bf16 peak, by PyTorch's product of squares of 8192:
`cargo bench -p anylora-benches --features cuda --bench linear_cuda -- peak=NUMBER` takes it.

Without those packages ours is timed alone. Our program finds the NVRTC that they bring. `--shape tiny --device cpu` tries all
of it without a GPU, in f32, with small batches.
"""

import argparse
import array
import importlib.util
import json
import math
import os
import random
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHAPES = {
    "7b": dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32,
               num_key_value_heads=32, vocab_size=32000, max_position_embeddings=4096),
    "tiny": dict(hidden_size=64, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
                 num_key_value_heads=2, vocab_size=512, max_position_embeddings=256),
}
LINEAR = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
PEFT, OURS = "PEFT + bitsandbytes", "AnyLoRA"
MISSING = [name for name in "torch transformers peft bitsandbytes accelerate".split() if importlib.util.find_spec(name) is None]


def rows(vocab, count, length):
    """Tokens of a fixed linear congruence."""
    state, tokens = 42, []
    for _ in range(count * length):
        state = (state * 1664525 + 1013904223) % 2**32
        tokens.append(5 + (state >> 8) % (vocab - 5))
    return [tokens[at : at + length] for at in range(0, len(tokens), length)]


def weights(shape, device, out):
    """A checkpoint of random weights, a file a layer, with the tiny models' tokenizer."""
    size = SHAPES[shape]
    dtype, width = ("BF16", 2) if device == "cuda" else ("F32", 4)
    out.mkdir()
    config = dict(size, model_type="llama", architectures=["LlamaForCausalLM"], hidden_act="silu", rms_norm_eps=1e-6,
                  tie_word_embeddings=False, dtype={"BF16": "bfloat16", "F32": "float32"}[dtype])
    (out / "config.json").write_text(json.dumps(config))
    for file in (ROOT / "tests/fixtures/tiny/tiny-llama").glob("*token*"):
        shutil.copy(file, out)
    # As many values again and again: no power of two, so that no two rows of a matrix are the same.
    random.seed(0)
    values = array.array("f", (random.gauss(0, 0.02) for _ in range(1_000_003))).tobytes()
    kept = slice(4 - width, 4)  # bf16 is the upper half of f32
    values = b"".join(values[at : at + 4][kept] for at in range(0, len(values), 4))
    ones = struct.pack("<f", 1)[kept]
    index, at = {}, 0

    def parts(shape):
        nonlocal at
        left = math.prod(shape) * width
        if len(shape) == 1:
            yield ones * shape[0]
            return
        while left > 0:
            part = values[at : at + left]
            yield part
            left -= len(part)
            at = (at + len(part)) % len(values)

    def save(name, shapes):
        header, end = {"__metadata__": {"format": "pt"}}, 0
        for key, shape in shapes.items():
            begin, end = end, end + math.prod(shape) * width
            header[key] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
        header = json.dumps(header).encode()
        with open(out / name, "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            for shape in shapes.values():
                file.writelines(parts(shape))
        index.update({key: name for key in shapes})

    hidden, inner, vocab = size["hidden_size"], size["intermediate_size"], size["vocab_size"]
    key = hidden * size["num_key_value_heads"] // size["num_attention_heads"]
    for i in range(size["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        save(f"layer{i}.safetensors", {
            layer + "input_layernorm.weight": [hidden],
            layer + "post_attention_layernorm.weight": [hidden],
            layer + "self_attn.q_proj.weight": [hidden, hidden],
            layer + "self_attn.k_proj.weight": [key, hidden],
            layer + "self_attn.v_proj.weight": [key, hidden],
            layer + "self_attn.o_proj.weight": [hidden, hidden],
            layer + "mlp.gate_proj.weight": [inner, hidden],
            layer + "mlp.up_proj.weight": [inner, hidden],
            layer + "mlp.down_proj.weight": [hidden, inner],
        })
    save("ends.safetensors", {
        "model.embed_tokens.weight": [vocab, hidden],
        "model.norm.weight": [hidden],
        "lm_head.weight": [vocab, hidden],
    })
    (out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def peak():
    """The dense bf16 peak in TFLOP/s, as JSON on stdout."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(20):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(10):
            a @ b
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) / 10)
    print(json.dumps({"name": torch.cuda.get_device_name(), "teraflops": 2e-12 * 8192**3 / statistics.median(times)}))


def peft(model, start, device, quant, batch, length, steps):
    """A turn of theirs: seconds, losses and the allocator's peak as JSON on stdout."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    cuda = device == "cuda"
    dtype = torch.bfloat16 if cuda else torch.float32
    torch.manual_seed(0)
    arguments = dict(dtype=dtype, attn_implementation="sdpa", device_map=device)
    if quant == "nf4":
        arguments["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    base = AutoModelForCausalLM.from_pretrained(model, **arguments)
    base.config.use_cache = False
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    base.enable_input_require_grads()
    if start.exists():
        trained = PeftModel.from_pretrained(base, start, is_trainable=True)
    else:
        trained = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules=LINEAR))
        trained.save_pretrained(start)
    trained.train()
    parameters = [parameter for parameter in trained.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.01)
    wait = torch.cuda.synchronize if cuda else lambda: None
    seconds, losses = [], []
    data = torch.tensor(rows(base.config.vocab_size, batch * steps, length)).reshape(steps, batch, length).to(device)
    for ids in data:
        wait()
        begin = time.perf_counter()
        with torch.autocast(device, torch.bfloat16, enabled=cuda):
            loss = trained(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        wait()
        seconds.append(time.perf_counter() - begin)
    held = torch.cuda.max_memory_reserved() if cuda else None
    print(json.dumps({"seconds": seconds, "losses": losses, "held": held}))


def ours(anylora, model, start, device, quant, batch, length, steps, work):
    """A turn of ours."""
    vocab = json.loads((model / "config.json").read_text())["vocab_size"]
    data, out = work / "rows.jsonl", work / f"run{time.monotonic_ns()}"
    data.write_text("".join(json.dumps({"input_ids": row}) + "\n" for row in rows(vocab, batch * steps, length)))
    command = [anylora, "train", "--model", model, "--data", data, "--out", out]
    command += ["--adapter-init", start] if start.exists() else "--rank 16 --alpha 32 --target-modules all-linear".split()
    command += f"--device {device} --quant {quant} --batch-size {batch} --max-length {length} --steps {steps}".split()
    command += ["--dtype", "bf16" if device == "cuda" else "f32"]
    command += "--packing false --shuffle false --recompute true --schedule constant --warmup-steps 0".split()
    command += "--lr 2e-4 --weight-decay 0.01 --clip 0 --save-every 0".split()
    _, memory = run(command)
    metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((out / "summary.json").read_text())
    shutil.rmtree(out)
    held = summary["peak_device_bytes"]["total"]
    return {"seconds": [m["seconds"] for m in metrics], "losses": [m["loss"] for m in metrics], "held": held}, memory


class Memory(threading.Thread):
    """The most that nvidia-smi sees in use while it runs, in MB; `None` where there is no nvidia-smi."""

    def __init__(self):
        super().__init__(daemon=True)
        self.most, self.done = None, threading.Event()

    def run(self):
        command = "nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits".split()
        while shutil.which(command[0]) and not self.done.wait(0.2):
            answer = subprocess.run(command, capture_output=True, text=True)
            if answer.returncode == 0:
                self.most = max(self.most or 0, int(answer.stdout.split()[0]) * 1.048576)


def environment():
    """This one, in which our program finds the NVRTC of Python's packages."""
    folders = [os.environ.get("LD_LIBRARY_PATH", "")]
    for path in sys.path:
        folders += sorted({str(library.parent) for library in Path(path).glob("nvidia/*/lib/libnvrtc.so.*")})
    return os.environ | {"LD_LIBRARY_PATH": ":".join(filter(None, folders))}


def run(command):
    """A process's stdout, and the most memory in MB that nvidia-smi saw, or without one that the process had resident."""
    memory = Memory()
    memory.start()
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=errors, env=environment())
        stdout = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        memory.done.set()
        memory.join()
        if status != 0:
            errors.seek(0)
            sys.exit(f"{command[0]} failed: {errors.read().decode()}")
    return stdout.decode(), memory.most or usage.ru_maxrss * 1024 / 1e6


def program(device):
    """Our program, built."""
    features = ["--features", "cuda"] if device == "cuda" else []
    build = ["cargo", "build", "--locked", "--quiet", "--release", "-p", "anylora", *features]
    subprocess.run(build, cwd=ROOT, check=True)
    metadata = ["cargo", "metadata", "--no-deps", "--format-version", "1"]
    metadata = json.loads(subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True).stdout)
    return Path(metadata["target_directory"]) / "release/anylora"


def side_by_side(arguments, anylora, model, work):
    """Turns of both for each kind and batch; ours and theirs by it."""
    medians = {}
    for batch in arguments.batch or {"7b": ["1x2048", "8x512"], "tiny": ["1x64", "2x32"]}[arguments.shape]:
        count, length = map(int, batch.split("x"))
        for quant in arguments.quant:
            start = work / "start"
            theirs = [sys.executable, __file__, "peft", model, start, arguments.device, quant, count, length]
            turns = {OURS: []} if MISSING else {PEFT: [], OURS: []}
            if not MISSING and not start.exists():
                run([*theirs, 0])
            for _ in range(arguments.rounds):
                if not MISSING:
                    stdout, memory = run([*theirs, arguments.steps])
                    turns[PEFT].append((json.loads(stdout), memory))
                result = ours(anylora, model, start, arguments.device, quant, count, length, arguments.steps, work)
                turns[OURS].append(result)
            print(f"{'QLoRA' if quant == 'nf4' else 'LoRA'}, {batch}, {arguments.shape} on {arguments.device}:", flush=True)
            for name, results in turns.items():
                seconds = [second for result, _ in results for second in result["seconds"][2:]]
                medians[quant, batch, name] = statistics.median(seconds)
                held = [result["held"] / 1e6 for result, _ in results if result["held"]]
                print(
                    f"  {name:20} {medians[quant, batch, name]:.3f} s a step ({min(seconds):.3f} to {max(seconds):.3f}), "
                    f"{count * length / medians[quant, batch, name]:.0f} tokens/s, "
                    f"peak {max(memory for _, memory in results):.0f} MB"
                    + (f", its own {max(held):.0f} MB" if held else "")
                )
                print(f"  {'':20} losses {' '.join(f'{loss:.5f}' for loss in results[0][0]['losses'])}")
            if not MISSING:
                ratio = medians[quant, batch, PEFT] / medians[quant, batch, OURS]
                print(f"  {OURS}: {ratio:.2f} times the speed of {PEFT}", flush=True)
        if len(arguments.quant) == 2:
            ratio = medians["nf4", batch, OURS] / medians["none", batch, OURS]
            print(f"{batch}: our QLoRA step takes {ratio:.2f} of our LoRA step", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="7b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quant", nargs="+", choices=["none", "nf4"], default=["none", "nf4"])
    parser.add_argument("--batch", nargs="+", metavar="ROWSxTOKENS", help="of a step")
    parser.add_argument("--rounds", type=int, default=2, help="turns of each")
    parser.add_argument("--steps", type=int, default=6, help="steps a turn, the first two not counted")
    parser.add_argument("--anylora", type=Path, help="our program, where it is built already")
    parser.add_argument("--model", type=Path, help="the checkpoint of an earlier run, or where to leave it for a later one")
    arguments = parser.parse_args()
    if arguments.steps < 3:
        parser.error("--steps: expected at least 3")
    anylora = arguments.anylora or program(arguments.device)
    if MISSING:
        print(f"{PEFT} can't run, {', '.join(MISSING)} not being installed: {OURS} alone", flush=True)
    elif arguments.device == "cuda":
        answer = json.loads(run([sys.executable, __file__, "peak"])[0])
        print(f"{answer['name']}: dense bf16 peak {answer['teraflops']:.0f} TFLOP/s", flush=True)
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        model = arguments.model or work / "model"
        if not model.exists():
            run([sys.executable, __file__, "weights", arguments.shape, arguments.device, model])
        side_by_side(arguments, anylora, model, work)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["weights", shape, device, out]:
            weights(shape, device, Path(out))
        case ["peak"]:
            peak()
        case ["peft", model, start, device, quant, *numbers]:
            peft(Path(model), Path(start), device, quant, *map(int, numbers))
        case _:
            main()
