#!/usr/bin/env python3
"""Tokens per second of the CPU engine and of llama.cpp on one GGUF file, taking turns.

    python -m venv peers && peers/bin/pip install llama-cpp-python    # builds llama.cpp for this machine
    peers/bin/python benches/peers/with_llama_cpp.py MODEL.gguf [--threads 2] [--rounds 3]

Both read a prompt of 512 tokens and then 64 more, one at a time. Ours picks each of them (greedy) and decodes its text;
llama.cpp is handed its tokens, so that nothing of Python's is in its time but the call. A round is one run of each with a
warm start; the table has the median of the rounds and the least and most.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import time
from pathlib import Path

import llama_cpp

PROMPT, NEW = 512, 64
ROOT = Path(__file__).resolve().parents[2]


def build() -> Path:
    """The example `speed`, built."""
    subprocess.run(
        ["cargo", "build", "--locked", "--quiet", "--release", "-p", "anylora-generate", "--example", "speed"],
        cwd=ROOT,
        check=True,
    )
    metadata = subprocess.run(
        ["cargo", "metadata", "--locked", "--no-deps", "--format-version", "1"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    return Path(json.loads(metadata.stdout)["target_directory"], "release/examples/speed")


def ours(speed: Path, model: str, threads: int, quant: list[str]) -> tuple[float, float]:
    """Prefill and decode tokens/s of the second run in one process."""
    run = subprocess.run(
        [speed, model, *quant],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"RAYON_NUM_THREADS": str(threads)},
    )
    found = re.search(r"run 2: prefill ([\d.]+) tokens/s, decode ([\d.]+) tokens/s", run.stdout)
    if found is None:
        raise SystemExit(f"{speed} printed no figures:\n{run.stdout}")
    return float(found[1]), float(found[2])


def theirs(llama: llama_cpp.Llama) -> tuple[float, float]:
    """Prefill and decode tokens/s of llama.cpp."""
    tokens = [1000 + i * 7 % 5000 for i in range(PROMPT + NEW)]
    llama.reset()
    begin = time.perf_counter()
    llama.eval(tokens[:PROMPT])
    read = time.perf_counter()
    for token in tokens[PROMPT:]:
        llama.eval([token])
    return PROMPT / (read - begin), NEW / (time.perf_counter() - read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    speed = build()
    llama = llama_cpp.Llama(
        options.model,
        n_ctx=1024,
        n_batch=PROMPT,
        n_threads=options.threads,
        n_threads_batch=options.threads,
        verbose=False,
    )
    theirs(llama)
    runs = {
        f"llama-cpp-python {llama_cpp.__version__}": lambda: theirs(llama),
        "AnyLoRA": lambda: ours(speed, options.model, options.threads, []),
        "AnyLoRA, NF4": lambda: ours(speed, options.model, options.threads, ["nf4"]),
    }
    figures = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, run in runs.items():
            figures[name].append(run())
    system = llama_cpp.llama_print_system_info().decode()
    print(f"{options.threads} threads, {options.rounds} rounds; llama.cpp: {system}")
    print("| | prefill, tokens/s | decode, tokens/s |\n|---|---|---|")
    for name, rounds in figures.items():
        cells = []
        for values in zip(*rounds):
            cells.append(f"{statistics.median(values):.0f} ({min(values):.0f} to {max(values):.0f})")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
