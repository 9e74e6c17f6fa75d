#!/usr/bin/env python3
"""Adapters between AnyLoRA and PEFT, both ways: the same adapter on the same base model gives the same logits.

    pip install torch transformers peft bitsandbytes gguf
    tests/parity/peft_adapters.py [--smollm2 SmolLM2-135M-Instruct.Q4_1.gguf]

For each of the tiny models, in f32 and in NF4 with double quantization: an adapter that `anylora train` made is
loaded by PEFT, and adapters that PEFT made are loaded here (`cargo run --example logits`). Prints the largest
difference of the logits relative to the largest logit, and how far the adapter itself moves them; exits 1 where a
difference is above the tolerance. All arithmetic is f32 on the CPU.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file, save_model
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

ROOT = Path(__file__).resolve().parents[2]
TINY = ["tiny-llama", "tiny-mistral", "tiny-qwen2", "tiny-qwen3"]
# SmolLM2 has 30 layers, the tiny models two.
TOLERANCE, TOLERANCE_SMOLLM2 = 1e-5, 1e-4

# Options of `anylora train`, each with a rank, targets and scale of its own.
OURS = {
    "all linear layers": "--rank 8 --alpha 16",
    "q and v, rsLoRA": "--rank 4 --alpha 8 --rslora --target-modules q_proj,v_proj",
    "the first layer's MLP": "--rank 6 --alpha 6 --layers 0..1 --target-modules gate_proj,up_proj,down_proj",
}
# Fields of PEFT's LoraConfig.
THEIRS = {
    "all linear layers": dict(r=8, lora_alpha=16, target_modules="all-linear"),
    "q and v, rsLoRA": dict(r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "v_proj"]),
    "the first layer, a regex": dict(r=4, lora_alpha=4, target_modules=r".*\.layers\.0\..*(q|down)_proj"),
    "ranks and alphas by pattern": dict(
        r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 2}, alpha_pattern={"q_proj": 3}
    ),
}


def build():
    """Our two programs."""
    for arguments in (["-p", "anylora"], ["-p", "anylora-generate", "--example", "logits"]):
        subprocess.run(["cargo", "build", "--locked", "--quiet", "--release", *arguments], cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, capture_output=True
    )
    release = Path(json.loads(metadata.stdout)["target_directory"]) / "release"
    return release / "anylora", release / "examples" / "logits"


def dense(folder, gguf, out):
    """A GGUF file as a folder of f32 weights: transformers neither quantizes nor saves what it reads from GGUF."""
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=torch.float32)
    out.mkdir()
    del model.config.quantization_config
    model.config.save_pretrained(out)
    save_model(model, str(out / "model.safetensors"), metadata={"format": "pt"})
    return out


class Base:
    """A base model: for us a path and `--quant`, for them a loaded module."""

    def __init__(self, path, quant, vocabulary, work):
        self.path, self.quant, self.work = path, quant, work
        folder, gguf = (path.parent, path.name) if path.suffix == ".gguf" else (path, None)
        options = dict(dtype=torch.float32, attn_implementation="eager")
        if gguf is not None:
            folder = dense(folder, gguf, work / "dense")
        if quant == "nf4":
            options["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.float32,
            )
        self.load = lambda: AutoModelForCausalLM.from_pretrained(folder, **options)
        torch.manual_seed(1)
        self.ids = torch.randint(5, vocabulary, [2, 40])

    def logits(self, model):
        # In training mode: bitsandbytes' kernel for evaluation on the CPU computes in less than f32.
        model.train()
        with torch.no_grad():
            return model(input_ids=self.ids).logits.float()

    def our_logits(self, program, adapter):
        ids, out = self.work / "ids.safetensors", self.work / "logits.safetensors"
        save_file({"input_ids": self.ids}, ids)
        subprocess.run(
            [program, self.path, self.quant, adapter or "none", ids, out], check=True, stdout=subprocess.DEVNULL
        )
        return load_file(out)["logits"]


def distance(found, expected):
    return ((found - expected).abs().max() / expected.abs().max()).item()


def train(anylora, base, options, out, steps):
    """An adapter of ours, after some steps at a high learning rate."""
    data = base.work / "data.jsonl"
    words = ["ab", "xyz", "a b c", "zyx ab"]
    lines = [json.dumps({"prompt": words[i % 4] + str(i), "completion": " " + words[i % 3]}) for i in range(16)]
    data.write_text("\n".join(lines) + "\n")
    command = [anylora, "train", "--model", base.path, "--quant", base.quant, "--data", data, "--out", out]
    command += f"--device cpu --steps {steps} --lr 1e-2 --batch-size 4 --max-length 32".split() + options.split()
    subprocess.run(command, check=True, capture_output=True)
    return out / "adapter"


def compare(name, path, vocabulary, quants, steps):
    """Prints a line an adapter; the largest difference."""
    anylora, program = PROGRAMS
    worst = 0.0
    for quant in quants:
        with tempfile.TemporaryDirectory() as work:
            work = Path(work)
            base = Base(path, quant, vocabulary, work)
            plain = base.logits(base.load())
            off = distance(base.our_logits(program, None), plain)
            print(f"{name}, {quant}: base model {off:.1e}", flush=True)
            pairs = []
            for index, (what, options) in enumerate(OURS.items()):
                adapter = train(anylora, base, options, work / f"run{index}", steps)
                theirs = base.logits(PeftModel.from_pretrained(base.load(), adapter))
                pairs.append((f"ours in PEFT, {what}", adapter, theirs))
            for index, (what, fields) in enumerate(THEIRS.items()):
                torch.manual_seed(index)
                # Without its initialization, B is random and not zero.
                model = get_peft_model(base.load(), LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **fields))
                adapter = work / f"peft{index}"
                model.save_pretrained(adapter)
                pairs.append((f"PEFT's here, {what}", adapter, base.logits(model)))
            for what, adapter, theirs in pairs:
                off, moved = distance(base.our_logits(program, adapter), theirs), distance(theirs, plain)
                print(f"{name}, {quant}: {what}: {off:.1e} (the adapter moves them by {moved:.1e})", flush=True)
                if moved < 1e-2:
                    sys.exit(f"{name}, {quant}: {what}: the adapter does nothing, so nothing is shown")
                worst = max(worst, off)
    return worst


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--smollm2", type=Path, help="SmolLM2-135M-Instruct as GGUF, instead of the tiny models")
arguments = parser.parse_args()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
PROGRAMS = build()
if arguments.smollm2:
    tolerance = TOLERANCE_SMOLLM2
    worst = compare("SmolLM2-135M", arguments.smollm2.resolve(), 49152, ["none", "nf4"], 4)
else:
    tolerance = TOLERANCE
    worst = max(compare(name, ROOT / "tests/fixtures/tiny" / name, 512, ["none", "nf4"], 12) for name in TINY)
print(f"the largest difference: {worst:.1e}, allowed {tolerance:.0e}")
sys.exit(worst > tolerance)
